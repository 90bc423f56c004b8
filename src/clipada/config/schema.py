"""Frozen dataclasses built strictly from plain values or text: unknown names and wrong types raise ``ConfigError``."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from clipada.errors import ConfigError


def require(condition: bool, setting: str, expected: str, got: object) -> None:
    """Raise a ``ConfigError`` that names the setting unless ``condition`` holds."""
    if not condition:
        raise ConfigError(f"setting {setting} is out of range", expected=expected, got=repr(got))


def build(kind: Any, values: Mapping[str, Any], where: str) -> Any:
    """Build dataclass ``kind`` from plain ``values``, strictly."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"setting {where or 'config'} is of the wrong type", expected="a mapping", got=repr(values))
    hints = get_type_hints(kind)
    unknown = set(values) - set(hints)
    if unknown:
        raise ConfigError(
            f"unknown setting {', '.join(where + name for name in sorted(unknown))}",
            expected="one of " + ", ".join(where + name for name in hints),
            remedy="the file may come from a newer version of clipada",
        )
    return kind(**{name: checked(value, hints[name], where + name) for name, value in values.items()})


def checked(value: Any, hint: Any, name: str) -> Any:
    """Return ``value`` as type ``hint``; raise ``ConfigError`` if it is of another type."""
    if is_dataclass(hint):
        return build(hint, value, f"{name}.")
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        return checked(value, next(a for a in get_args(hint) if a is not type(None)), name)
    if origin is Literal:
        accepted = value in get_args(hint)
    elif origin is tuple:
        accepted = isinstance(value, list | tuple)
        value = tuple(checked(item, get_args(hint)[0], name) for item in value) if accepted else value
    elif origin is dict:
        accepted = isinstance(value, dict)
        inner = get_args(hint)[1]
        value = {key: checked(item, inner, f"{name}.{key}") for key, item in value.items()} if accepted else value
    elif hint is float:
        accepted = isinstance(value, int | float) and not isinstance(value, bool)
        value = float(value) if accepted else value
    else:
        accepted = type(value) is hint
    if not accepted:
        expected = " | ".join(map(str, get_args(hint))) if origin is Literal else getattr(hint, "__name__", str(hint))
        raise ConfigError(f"setting {name} is of the wrong type", expected=expected, got=repr(value))
    return value


def parse(text: str, hint: Any, name: str) -> Any:
    """Read command-line ``text`` as type ``hint``."""
    origin = get_origin(hint)
    try:
        if origin in (Union, types.UnionType):
            inner = next(a for a in get_args(hint) if a is not type(None))
            return None if text.lower() == "none" else parse(text, inner, name)
        if origin is tuple:
            return tuple(parse(item, get_args(hint)[0], name) for item in text.split(",") if item)
        if hint is bool:
            return {"true": True, "false": False}[text.lower()]
        return hint(text) if hint in (int, float) else text
    except (ValueError, KeyError):
        raise ConfigError(f"setting {name} cannot be read", expected=getattr(hint, "__name__", ""), got=text) from None
