"""Damaged files of a run: whatever is in them, reading them gives the run or an error that names file and field."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from clipada.errors import ClipAdaError, RunError
from clipada.evaluation.metrics import CategoryMetrics
from clipada.files import read_json, sha256_of
from clipada.report import model_card
from clipada.report.tables import metrics_markdown
from clipada.runs import ADAPTER, CONFIG, METRICS, PROTOTYPES, TRAINED_ON, Run, load_model, read_run, seal
from clipada.runs.metrics import read_metrics
from clipada.runs.tensors import count_values, load_parameters, read_tensors
from damaged import DEEP, damaged_bytes, json_bytes

MEANS = dict.fromkeys(("image_auroc", "pixel_auroc", "pixel_ap", "aupro", "image_ap", "image_f1_max"), 0.5)
METRICS_OF_ONE = {"pixel_f1_max": None, "n_normal": 2, "n_anomalous": 1, **MEANS}
TABLES = {"categories": {"disc": METRICS_OF_ONE}, "mean": METRICS_OF_ONE}
PROTOCOL = {"data": "parts", "image_size": 32, "masks": "nearest", "aupro_fpr_limit": 0.3, "left_out": ["a.png"]}
WHOLE_METRICS = {"protocol": PROTOCOL, **TABLES, "passes": [TABLES]}
WEIGHTS = {"first": torch.arange(6.0).reshape(2, 3), "second": torch.ones(4)}


@pytest.fixture(scope="module")
def copied(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of a run whose files the tests of this module overwrite."""
    return shutil.copytree(finished_run, tmp_path_factory.mktemp("damaged") / "line3")


def attempt(step: Callable[[], object], path: Path) -> None:
    """Run a step, which may fail, but only with an error that names the file."""
    try:
        step()
    except ClipAdaError as error:
        assert str(path) in error.what  # noqa: PT017 - most examples fail, some do not
        assert error.remedy  # noqa: PT017


# --- any damage


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_any_config_is_a_run_or_an_error(copied: Path, finished_run: Path, data: st.DataObject) -> None:
    whole = json.loads((finished_run / CONFIG).read_text())
    (copied / CONFIG).write_bytes(data.draw(json_bytes(whole)))

    def described() -> None:
        run = read_run(copied)
        assert model_card(run)
        assert run.model_sha256

    attempt(described, copied / CONFIG)


@given(content=json_bytes(WHOLE_METRICS))
@settings(max_examples=200, deadline=None)
def test_any_metrics_make_a_table_or_an_error(copied: Path, content: bytes) -> None:
    path = copied / METRICS
    path.write_bytes(content)

    def tabulated() -> None:
        metrics = read_metrics(path)
        for tables in (metrics, *metrics.get("passes", ())):
            categories = {name: CategoryMetrics(**values) for name, values in tables["categories"].items()}
            assert metrics_markdown(categories, CategoryMetrics(**tables["mean"]))

    attempt(tabulated, path)


@given(content=damaged_bytes(f"{'a1' * 32}\n{'b2' * 32}\n".encode()) | st.binary(max_size=99))
@settings(max_examples=100, deadline=None)
def test_any_hashes_are_read_or_an_error(copied: Path, finished_run: Path, content: bytes) -> None:
    shutil.copy(finished_run / CONFIG, copied / CONFIG)
    (copied / TRAINED_ON).write_bytes(content)
    attempt(lambda: read_run(copied).training_sha256s, copied / TRAINED_ON)


@given(content=damaged_bytes(save(WEIGHTS, metadata={"format": "pt"})) | st.binary(max_size=99))
@settings(max_examples=300, deadline=None)
def test_any_tensors_are_read_or_an_error(copied: Path, content: bytes) -> None:
    path = copied / "weights.safetensors"
    path.write_bytes(content)
    parameters = {name: torch.nn.Parameter(torch.zeros_like(value)) for name, value in WEIGHTS.items()}
    attempt(lambda: read_tensors(path, "train again"), path)
    attempt(lambda: load_parameters(path, parameters, "train again"), path)
    attempt(lambda: count_values(path, "train again"), path)


# --- each kind of damage, by name


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("seconds", "long", ["training.seconds is of the wrong type", "expected: float", "got: 'long'"]),
        ("seconds", 10**400, ["training.seconds is of the wrong type", "expected: float", "..."]),
        ("losses", [0.5, None], ["training.losses[1] is of the wrong type", "expected: float", "got: None"]),
        ("categories", {"disc": "6"}, ["training.categories.disc is of the wrong type", "expected: int", "got: '6'"]),
        ("layout", ["mvtec"], ["training.layout is of the wrong type", "expected: str", "got: ['mvtec']"]),
    ],
)
def test_a_wrong_field_is_named(run_folder: Path, field: str, value: object, said: list[str]) -> None:
    content = json.loads((run_folder / CONFIG).read_text())
    content["training"][field] = value
    (run_folder / CONFIG).write_text(json.dumps(content))
    with pytest.raises(RunError) as caught:
        read_run(run_folder)
    for part in (str(run_folder / CONFIG), *said):
        assert part in str(caught.value)


def test_a_missing_field_is_named(run_folder: Path) -> None:
    content = json.loads((run_folder / CONFIG).read_text())
    del content["training"]["machine"]
    (run_folder / CONFIG).write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"field training.machine is missing\n  expected: str"):
        read_run(run_folder)


def test_deep_nesting_is_an_error(tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text('{"format": ' + DEEP + "}")
    with pytest.raises(RunError, match="nested too deeply"):
        read_json(tmp_path / CONFIG, "train again")


@pytest.mark.parametrize("content", [b"\xff\xfe\n", b"a1b2\n", "ä".encode() * 64])
def test_damaged_hashes_of_training_images_are_an_error(run_folder: Path, content: bytes) -> None:
    (run_folder / TRAINED_ON).write_bytes(content)
    with pytest.raises(RunError, match=f"{TRAINED_ON} is damaged"):
        assert read_run(run_folder).training_sha256s


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2, torch.int64, torch.bool, torch.complex64])
def test_parameters_of_another_type_are_an_error(run_folder: Path, kind: torch.dtype) -> None:
    run = read_run(run_folder)
    tensors = read_tensors(run_folder / ADAPTER, "train again")
    name = next(iter(tensors))
    save_file(tensors | {name: tensors[name].to(kind)}, run_folder / ADAPTER)
    with pytest.raises(RunError, match=f"contains {name} in another type of numbers") as caught:
        load_model(run)
    assert caught.value.got == str(kind).removeprefix("torch.")


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: {name: value for name, value in tensors.items() if name != "channel_std"},
        lambda tensors: tensors | {"centres": tensors["centres"][:0]},
        lambda tensors: tensors | {"centres": tensors["centres"][:, :5].clone()},
        lambda tensors: tensors | {"channel_mean": tensors["channel_mean"][:5].clone()},
        lambda tensors: tensors | {"distance_mean": torch.zeros(3)},
        lambda _: {"other": torch.zeros(3)},
    ],
)
def test_prototypes_that_do_not_fit_are_an_error(
    run_folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """With a matching hash: their names and shapes are checked too."""
    path = run_folder / PROTOTYPES
    save_file(change(read_tensors(path, "train again")), path)
    content = json.loads((run_folder / CONFIG).read_text())
    (run_folder / CONFIG).write_text(json.dumps(content | {"prototypes_sha256": sha256_of(path)}))
    seal(run_folder)
    with pytest.raises(RunError, match=r"prototypes .* does not fit"):
        load_model(read_run(run_folder))


def test_whole_metrics_are_read(run_folder: Path) -> None:
    (run_folder / METRICS).write_text(json.dumps(WHOLE_METRICS))
    run: Run = read_run(run_folder)
    assert run.metrics == WHOLE_METRICS
    assert "50.0" in model_card(run)
