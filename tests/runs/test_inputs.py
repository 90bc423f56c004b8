"""The file of the input check: what a training wrote is read again, and a damaged one is refused by name."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from clipada.calibration.image_statistics import STATISTICS
from clipada.calibration.input_check import ProductInputs
from clipada.config import InputCheckConfig
from clipada.errors import ClipAdaError, RunError
from clipada.runs import INPUT_CHECK
from clipada.runs.inputs import find_input_check, write_input_check

Arrays = dict[str, np.ndarray]


def products(seed: int = 0) -> dict[str, ProductInputs]:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(9, 7)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    statistics = rng.normal(size=(6, len(STATISTICS)))
    return {
        "plate\udcff / ü": ProductInputs(statistics=statistics, descriptors=vectors[:6], blank=vectors[6:]),
        "disc": ProductInputs(statistics=statistics + 1),
    }


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_input_check(tmp_path, products())
    check = find_input_check(tmp_path)
    assert check is not None
    assert list(check.products) == list(products())
    for name, inputs in products().items():
        found = check.products[name].inputs
        assert found.statistics == pytest.approx(inputs.statistics, abs=1e-5)
        for one, other in ((found.descriptors, inputs.descriptors), (found.blank, inputs.blank)):
            assert (one is None) == (other is None)
            if one is not None:
                assert one == pytest.approx(other, abs=1e-3)
                assert np.linalg.norm(one, axis=1) == pytest.approx(1, abs=1e-6)


def test_a_rate_of_zero_or_an_older_run_is_no_check(tmp_path: Path) -> None:
    assert find_input_check(tmp_path) is None
    write_input_check(tmp_path, products())
    assert find_input_check(tmp_path, InputCheckConfig(rate=0)) is None


def without(name: str) -> Callable[[Arrays], None]:
    return lambda tensors: tensors.pop(name) is None


DAMAGES: dict[str, Callable[[Arrays], object]] = {
    "no statistics": without("0.statistics"),
    "no blank": without("0.blank"),
    "another number of statistics": lambda tensors: tensors.update({"0.statistics": np.zeros((4, 3), np.float32)}),
    "no image": lambda tensors: tensors.update({"0.statistics": np.zeros((0, len(STATISTICS)), np.float32)}),
    "not finite": lambda tensors: tensors["1.statistics"].fill(np.nan),
    "zero descriptors": lambda tensors: tensors["0.descriptors"].fill(0),
    "another width": lambda tensors: tensors.update({"0.blank": np.ones((3, 5), np.float16)}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    write_input_check(tmp_path, products())
    tensors = load_file(tmp_path / INPUT_CHECK)
    DAMAGES[damage](tensors)
    save_file(tensors, tmp_path / INPUT_CHECK, {"products": json.dumps(list(products()))})
    with pytest.raises(RunError, match=r"input-check\.safetensors is damaged"):
        find_input_check(tmp_path)


@given(content=st.binary(max_size=200), cut=st.integers(0, 2000), keep=st.booleans())
@settings(deadline=None, max_examples=100)
def test_any_bytes_are_a_check_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, cut: int, keep: bool
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    write_input_check(folder, products())
    whole = (folder / INPUT_CHECK).read_bytes()
    (folder / INPUT_CHECK).write_bytes(whole[:cut] + content + (whole[cut + len(content) :] if keep else b""))
    with suppress(ClipAdaError):  # and nothing else
        find_input_check(folder)
