"""The public names of the package."""

import importlib
import inspect

import pytest

import clipada

KEPT_IN_THEIR_MODULE = {"Calibration": "clipada.calibration.record", "Config": "clipada.config.method"}
"""Classes built from JSON, whose field types are resolved by the module that they name."""


def test_dir_lists_the_public_names_alone() -> None:
    assert dir(clipada) == sorted(clipada.__all__)
    with pytest.raises(AttributeError, match="no attribute 'color'"):
        _ = clipada.color


@pytest.mark.parametrize("name", [name for name in clipada.__all__ if name != "__version__"])
def test_every_name_says_that_it_is_of_the_package(name: str) -> None:
    """So tracebacks and ``help()`` show the name that users import; it is documented, and can be pickled by name."""
    found = getattr(clipada, name)
    assert found.__module__ == KEPT_IN_THEIR_MODULE.get(name, "clipada")
    assert found is getattr(importlib.import_module(found.__module__), found.__qualname__)
    assert inspect.getdoc(found)
