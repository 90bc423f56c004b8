"""The public names of the package."""

import importlib
import inspect
import typing

import pytest

import clipada


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
