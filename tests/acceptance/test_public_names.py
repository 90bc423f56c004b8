"""The public names of the package."""

import importlib
import inspect
import re
import typing

import pytest

import clipada
from documents import ROOT

CALLED = [name for name in clipada.__all__ if inspect.isfunction(getattr(clipada, name))]
"""The commands."""


def test_dir_lists_no_module_and_no_private_name() -> None:
    assert not [name for name in dir(clipada) if name.startswith("_") and name != "__version__"]
    assert not [name for name in dir(clipada) if inspect.ismodule(getattr(clipada, name))]
    with pytest.raises(AttributeError, match="no attribute 'color'"):
        _ = clipada.color


@pytest.mark.parametrize("name", [name for name in clipada.__all__ if name != "__version__"])
def test_every_name_says_that_it_is_of_the_package(name: str) -> None:
    """So tracebacks and ``help()`` show the name that users import; it is documented, and can be pickled by name."""
    found = getattr(clipada, name)
    assert found.__module__ == "clipada"
    assert found is getattr(importlib.import_module(found.__module__), found.__qualname__)
    assert inspect.getdoc(found)


@pytest.mark.parametrize("name", [name for name in clipada.__all__ if isinstance(getattr(clipada, name), type)])
def test_the_types_of_a_public_class_can_be_resolved(name: str) -> None:
    """Programs that build forms or schemas from a class ask for them, although it names another module than its own."""
    typing.get_type_hints(getattr(clipada, name))


@pytest.mark.parametrize("name", [*CALLED, "Config", "Inspector"])
def test_help_shows_a_signature_that_can_be_read(name: str) -> None:
    """No ``<function <lambda> at 0x7f...>`` and no ``<factory>`` as a default."""
    assert "<" not in str(inspect.signature(getattr(clipada, name)))


def test_settings_show_what_differs_from_the_defaults() -> None:
    config = clipada.Config().updated({"model.refinements": 2})
    assert repr(config) == "Config(model=ModelConfig(refinements=2))"
    assert repr(clipada.Config()) == "Config()"


def test_the_reference_has_every_public_name() -> None:
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^::: clipada\.(\w+)$", text, re.MULTILINE)) == sorted(
        {*clipada.__all__} - {"__version__"}
    )
