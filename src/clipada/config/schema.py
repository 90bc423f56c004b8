"""Frozen dataclasses built strictly from plain values or text: unknown names and wrong types raise ``ConfigError``."""

from __future__ import annotations

import os
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from pathlib import Path
from reprlib import Repr
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from clipada.errors import ConfigError

_SHOWN = Repr()
_SHOWN.maxstring = _SHOWN.maxother = 80
_SHOWN.maxlong = 40

_LEAST_INT, _MOST_INT = -(2**63), 2**64 - 1
"""Range of an integer: what PyTorch, NumPy and float accept."""


def require(condition: bool, setting: str, expected: str, got: object, noun: str = "setting") -> None:
    """Raise a ``ConfigError`` that names the setting, or another ``noun``, unless ``condition`` holds."""
    if not condition:
        raise ConfigError(f"{noun} {setting} is out of range", expected=expected, got=repr(got))


def brief(settings: Any) -> str:
    """Write a dataclass of settings with those that differ from their defaults; its class takes it as ``__repr__``."""
    given = [(field.name, getattr(settings, field.name), field.default) for field in fields(settings)]
    changed = ", ".join(f"{name}={value!r}" for name, value, default in given if value != default)
    return f"{type(settings).__name__}({changed})"


def build(kind: Any, values: Any, where: str, noun: str = "setting") -> Any:
    """Build dataclass ``kind`` from plain ``values``, strictly.

    Args:
        kind: The dataclass; the type hints of its fields are the schema.
        values: A mapping with a value for each field that has no default.
        where: Place of the values, e.g. ``"training."``; a prefix of the names in errors.
        noun: The word for a field in errors.

    Raises:
        ConfigError: A value is missing, unknown or of another type; the error names field, expected type and value.
    """
    known = _schema(kind)
    if not isinstance(values, Mapping):
        what = f"{noun} {where.removesuffix('.')}" if where else "the content"
        raise ConfigError(f"{what} is of the wrong type", expected="a mapping", got=shown(values))
    unknown = set(values) - set(known)
    if unknown:
        raise ConfigError(
            f"unknown {noun} {', '.join(where + name for name in sorted(unknown))}",
            expected="one of " + ", ".join(where + name for name in known),
            remedy="the file may come from a newer version of clipada",
        )
    return _built(kind, values, where, noun)


def build_known(kind: Any, values: Any, where: str, noun: str = "field") -> Any:
    """Build dataclass ``kind`` as ``build`` does, but ignore values that are not fields of it."""
    if not isinstance(values, Mapping):
        return build(kind, values, where, noun)
    known = _schema(kind)
    return _built(kind, {name: value for name, value in values.items() if name in known}, where, noun)


def checked(value: Any, hint: Any, name: str, noun: str = "setting") -> Any:
    """Return ``value`` as type ``hint``; raise ``ConfigError`` if it is of another type."""
    if type(value) is hint and (hint is not int or _fits(value)):  # most values: records may have millions of lines
        return value
    origin = _origin(hint)
    if is_dataclass(hint):
        return build(hint, value, f"{name}.", noun)
    if origin in (Union, types.UnionType):
        return _one_of(value, _args(hint), name, noun)
    if origin is tuple:
        return _tuple(value, hint, name, noun)
    if origin is dict and isinstance(value, dict):
        return {key: checked(item, get_args(hint)[1], f"{name}.{key}", noun) for key, item in value.items()}
    return _scalar(value, hint, name, noun)


def shown(value: object) -> str:
    """Return a value as an error shows it: shortened, however large or deeply nested it is."""
    return _SHOWN.repr(value)


def parse(text: str, hint: Any, name: str) -> Any:
    """Read command-line ``text`` as type ``hint``."""
    origin = get_origin(hint)
    try:
        if origin in (Union, types.UnionType):
            kinds = sorted((a for a in _args(hint) if a is not type(None)), key=lambda a: _origin(a) is tuple)
            return None if text.lower() == "none" else parse(text, kinds[-1 if "," in text else 0], name)
        if origin is tuple:
            return tuple(parse(item, get_args(hint)[0], name) for item in text.split(",") if item)
        if hint is bool:
            return {"true": True, "false": False}[text.lower()]
        return hint(text) if hint in (int, float) else text
    except (ValueError, KeyError):
        raise ConfigError(f"setting {name} cannot be read", expected=getattr(hint, "__name__", ""), got=text) from None


@cache
def _origin(hint: Any) -> Any:
    return get_origin(hint)


@cache
def _args(hint: Any) -> tuple[Any, ...]:
    return get_args(hint)


@cache
def _schema(kind: Any) -> dict[str, tuple[Any, Field[Any]]]:
    """Return type hint and field of each field of a dataclass, by name."""
    hints = get_type_hints(kind)
    return {field.name: (hints[field.name], field) for field in fields(kind)}


def _built(kind: Any, values: Mapping[str, Any], where: str, noun: str) -> Any:
    known = _schema(kind)
    for name, (hint, field) in known.items():
        if name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise ConfigError(f"{noun} {where}{name} is missing", expected=type_name(hint), got="no such field")
    return kind(**{name: checked(value, known[name][0], where + name, noun) for name, value in values.items()})


def _scalar(value: Any, hint: Any, name: str, noun: str) -> Any:
    """Return a value that is not built of others as type ``hint``."""
    if hint is float and type(value) is int and _fits(value):
        return float(value)
    if hint is Path and _is_path(value):
        return Path(value)
    accepted = value in _args(hint) if _origin(hint) is Literal else hint is Any
    if not accepted:
        raise _wrong_type(value, hint, name, noun)
    return value


def _one_of(value: Any, hints: tuple[Any, ...], name: str, noun: str) -> Any:
    """Return ``value`` as the type it is already of, else as the first type that is not ``None``."""
    if value is None and type(None) in hints:
        return None
    kinds = [hint for hint in hints if hint is not type(None)]
    alike = [
        hint for hint in kinds if hint is type(value) or (_origin(hint) is tuple and isinstance(value, list | tuple))
    ]
    return checked(value, (alike or kinds)[0], name, noun)


def _tuple(value: Any, hint: Any, name: str, noun: str) -> tuple[Any, ...]:
    """Return a list as a tuple of one type, or of a fixed number of types."""
    kinds = _args(hint)
    endless = kinds[-1] is Ellipsis
    if not isinstance(value, list | tuple) or not (endless or len(value) == len(kinds)):
        raise _wrong_type(value, hint, name, noun)
    each = kinds[:1] * len(value) if endless else kinds
    return tuple(
        checked(item, kind, f"{name}[{index}]", noun)
        for index, (item, kind) in enumerate(zip(value, each, strict=True))
    )


def _fits(value: Any) -> bool:
    """Return True unless ``value`` is an integer beyond 64 bits."""
    return not isinstance(value, int) or _LEAST_INT <= value <= _MOST_INT


def _is_path(value: Any) -> bool:
    """Return True if ``value`` is a text that the operating system takes as a path."""
    try:
        return isinstance(value, str) and b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:  # a lone surrogate that stands for no byte
        return False


def type_name(hint: Any) -> str:
    """Return a type as errors name it."""
    if get_origin(hint) is Literal:
        return " | ".join(map(str, get_args(hint)))
    if get_origin(hint) in (Union, types.UnionType):
        return " | ".join(type_name(one) for one in get_args(hint))
    if get_origin(hint) is tuple and get_args(hint)[-1] is not Ellipsis:
        return f"tuple of {len(get_args(hint))}"
    if is_dataclass(hint):
        return "a mapping"
    return getattr(hint, "__name__", str(hint)).replace("NoneType", "null")


def _wrong_type(value: object, hint: Any, name: str, noun: str) -> ConfigError:
    return ConfigError(f"{noun} {name} is of the wrong type", expected=type_name(hint), got=shown(value))
