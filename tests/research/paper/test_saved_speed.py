"""The file of a measured speed: it is read again, and damage is an error that names the field."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from clipada.devices import machine
from clipada.errors import RunError
from clipada.research.paper.speed import SPEED, Speed, run_speed
from clipada.runs import CONFIG, Run, read_run
from damaged import json_bytes
from run_folders import unseal

WHOLE = {"rates": {"1": 20.0, "2": 30.0}, "machine": machine("cpu"), "engine": "torch fp32", "how": "in calls"}


@pytest.fixture(scope="module")
def run(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run without a backbone: a speed that is not read cannot be measured."""
    folder = tmp_path_factory.mktemp("measured")
    for name in (CONFIG, "adapter.safetensors", "prototypes.safetensors"):
        (folder / name).write_bytes((finished_run / name).read_bytes())
    return read_run(unseal(folder))


def read(run: Run) -> Speed:
    """Return the speed on this machine."""
    return run_speed(run, "cpu", "no-such-backbone")


def test_what_was_measured_is_read(run: Run) -> None:
    (run.folder / SPEED).write_text(json.dumps(WHOLE))
    assert read(run) == Speed(rates={1: 20.0, 2: 30.0}, machine=machine("cpu"), engine="torch fp32", how="in calls")
    assert read(run).best_batch == 2


@given(content=json_bytes({name: value for name, value in WHOLE.items() if name != "machine"}))
@settings(max_examples=100, deadline=None)
def test_any_file_is_read_or_an_error(run: Run, content: bytes) -> None:
    (run.folder / SPEED).write_bytes(
        content.replace(b"{", b'{"machine": ' + json.dumps(machine("cpu")).encode() + b", ", 1)
    )
    try:
        assert read(run).best_batch >= 0
    except RunError as error:
        assert str(run.folder / SPEED) in error.what  # noqa: PT017 - most examples fail, some do not


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rates": 3}, "field rates is of the wrong type"),
        ({"rates": {"1": "fast"}}, "field rates.1 is of the wrong type"),
        ({"rates": {"one": 1.0}}, "field rates: invalid literal"),
        ({"rates": {}}, "field rates is out of range"),
        ({"engine": None}, "field engine is of the wrong type"),
    ],
)
def test_a_wrong_field_is_named(run: Run, change: dict[str, Any], said: str) -> None:
    (run.folder / SPEED).write_text(json.dumps(WHOLE | change))
    with pytest.raises(RunError) as caught:
        read(run)
    assert said in str(caught.value)
    assert str(run.folder / SPEED) in caught.value.what
