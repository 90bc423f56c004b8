"""Run folders with damaged or incomplete files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from clipada.errors import RunError
from clipada.report import run_summary
from clipada.runs import ADAPTER, CONFIG, METRICS, load_model, read_run
from run_folders import change_config, said


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def of_another_shape(path: Path) -> None:
    tensors = load_file(path)
    tensors["projections.0.weight"] = tensors["projections.0.weight"][:5].clone()
    save_file(tensors, path)


def of_another_run(path: Path) -> None:
    save_file({"projections.0.weight": torch.zeros(16, 32)}, path)


def not_a_number(path: Path) -> None:
    tensors = load_file(path)
    tensors["projections.1.bias"][3] = float("nan")
    save_file(tensors, path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncated, "cannot be read"),
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (lambda path: path.write_text("an LFS pointer, say, which is longer than a header"), "cannot be read"),
        (of_another_shape, "does not fit"),
        (of_another_run, "does not fit"),
        (not_a_number, r"not finite\n  got: projections.1.bias"),
    ],
)
def test_a_damaged_adapter_is_refused(run_folder: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(run_folder / ADAPTER)
    with pytest.raises(RunError, match=message) as caught:
        load_model(read_run(run_folder))
    assert str(run_folder / ADAPTER) in said(caught.value)


def test_a_run_without_its_adapter_is_incomplete(run_folder: Path) -> None:
    (run_folder / ADAPTER).unlink()
    with pytest.raises(RunError, match="is incomplete") as caught:
        read_run(run_folder)
    assert str(run_folder) in said(caught.value)
    assert ADAPTER in said(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"format": 1}', b"[1, 2]", b"\xff\xfe{}", b"null", b'{"format": 1, "config": {}}']
)
def test_a_damaged_config_is_refused(run_folder: Path, content: bytes) -> None:
    (run_folder / CONFIG).write_bytes(content)
    with pytest.raises(RunError, match=r"damaged|another format") as caught:
        read_run(run_folder)
    assert str(run_folder / CONFIG) in said(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.pop("training"),
        lambda content: content.update(training=[]),
        lambda content: content["training"].update(colour="red"),
        lambda content: content["training"].pop("machine"),
        lambda content: content["training"].update(categories=3),
        lambda content: content["training"].update(losses=None),
        lambda content: content.pop("backbone_sha256"),
    ],
)
def test_a_config_that_lacks_its_record_is_refused(
    run_folder: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    change_config(run_folder, change)
    with pytest.raises(RunError, match="damaged") as caught:
        read_run(run_folder)
    assert str(run_folder / CONFIG) in said(caught.value)


def test_another_format_names_the_version_that_wrote_it(run_folder: Path) -> None:
    change_config(run_folder, lambda content: content.update(format=99, clipada_version="7.0.1"))
    with pytest.raises(RunError, match="another format") as caught:
        read_run(run_folder)
    for part in ("format 99", "format 1", "use clipada 7.0.1"):
        assert part in said(caught.value)


@pytest.mark.parametrize(
    ("section", "value", "named"),
    [
        ("model", {"vision": "sharp"}, "unknown setting model.vision"),
        ("model", {"refinements": "two"}, "model.refinements is of the wrong type"),
        ("scoring", {"sigma": -1}, "scoring.sigma is out of range"),
        ("training", None, "training"),
    ],
)
def test_invalid_settings_in_a_run_are_an_error_of_the_run(
    run_folder: Path, section: str, value: object, named: str
) -> None:
    change_config(run_folder, lambda content: content["config"].update({section: value}))
    with pytest.raises(RunError, match=named) as caught:
        read_run(run_folder)
    assert str(run_folder / CONFIG) in said(caught.value)


@pytest.mark.parametrize("content", ["", "{}", '{"protocol": {}, "categories": {}}', "[]", '{"mean": 3}'])
def test_damaged_metrics_are_reported_with_their_own_remedy(run_folder: Path, content: str) -> None:
    assert read_run(run_folder).metrics is None
    (run_folder / METRICS).write_text(content)
    with pytest.raises(RunError, match="damaged") as caught:
        run_summary(read_run(run_folder))
    assert str(run_folder / METRICS) in said(caught.value)
    assert "clipada evaluate" in said(caught.value)
