"""Files of an unfinished training: damage in its plan or its checkpoint is an error that names the file."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from safetensors.torch import load_file, save

from clipada.config import Config
from clipada.errors import RunError
from clipada.runs import PLAN
from clipada.training.checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint
from clipada.training.resume import Plan, read_plan
from damaged import DEEP, damaged_bytes, json_bytes

CONFIG = Config().updated({"backbone.block": 9})  # a plan that is written has decided its blocks
WHOLE = Plan(config=CONFIG, data=Path("/data/parts"), layout="mvtec", categories=("disc", "plate"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder whose files the tests of this module overwrite."""
    return tmp_path_factory.mktemp("unfinished")


def network() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """Return a small network and its optimizer, after one step."""
    torch.manual_seed(0)
    module = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return module, optimizer


def checkpoint(folder: Path) -> bytes:
    """Return the content of a valid checkpoint."""
    module, optimizer = network()
    save_checkpoint(folder, module.state_dict(), optimizer, 7, "same")
    return (folder / CHECKPOINT).read_bytes()


def plan_content(folder: Path) -> dict[str, object]:
    """Return the content of a valid plan."""
    WHOLE.save(folder)
    content: dict[str, object] = json.loads((folder / PLAN).read_text())
    return content


def test_any_plan_is_read_or_an_error(folder: Path) -> None:
    @given(content=json_bytes(plan_content(folder)))
    @settings(max_examples=300, deadline=None)
    def read(content: bytes) -> None:
        (folder / PLAN).write_bytes(content)
        try:
            plan = read_plan(folder)
            assert plan is not None
            assert not plan.data.is_file()
            plan.require(plan)
        except RunError as error:
            assert str(folder / PLAN) in error.what  # noqa: PT017 - most examples fail, some do not
            assert error.remedy  # noqa: PT017

    read()


def test_any_checkpoint_is_restored_or_an_error(folder: Path) -> None:
    @given(content=damaged_bytes(checkpoint(folder)))
    @settings(max_examples=300, deadline=None)
    def load(content: bytes) -> None:
        (folder / CHECKPOINT).write_bytes(content)
        module, optimizer = network()
        try:
            assert load_checkpoint(folder, module.state_dict(), optimizer, "same") is not None
            optimizer.step()
        except RunError as error:
            assert str(folder / CHECKPOINT) in error.what  # noqa: PT017
            assert error.remedy  # noqa: PT017

    load()


def test_what_was_written_is_read(folder: Path) -> None:
    WHOLE.save(folder)
    assert read_plan(folder) == WHOLE
    (folder / CHECKPOINT).write_bytes(checkpoint(folder))
    module, optimizer = network()
    with torch.no_grad():
        module.weight.zero_()
    assert load_checkpoint(folder, module.state_dict(), optimizer, "same") == 7
    assert module.weight.abs().sum() > 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": 3}, ["field data is of the wrong type", "expected: Path", "got: 3"]),
        ({"data": "a\0b"}, ["field data is of the wrong type"]),
        ({"layout": "other"}, ["field layout is of the wrong type", "expected: mvtec | visa | kolektor | "]),
        ({"categories": "disc"}, ["field categories is of the wrong type", "got: 'disc'"]),
        ({"config": {"model": 3}}, ["field config.model is of the wrong type", "got: 3"]),
    ],
)
def test_a_wrong_field_of_a_plan_is_named(folder: Path, change: dict[str, object], said: list[str]) -> None:
    (folder / PLAN).write_text(json.dumps(plan_content(folder) | change))
    with pytest.raises(RunError) as caught:
        read_plan(folder)
    for part in (str(folder / PLAN), *said):
        assert part in str(caught.value)


def test_deep_nesting_is_an_error(folder: Path) -> None:
    (folder / PLAN).write_text('{"config": ' + DEEP + "}")
    with pytest.raises(RunError, match="nested too deeply"):
        read_plan(folder)


@pytest.mark.parametrize(
    ("change", "metadata", "said"),
    [
        ({}, {"step": "many"}, "invalid literal"),
        ({}, {}, "step"),
        ({"model.weight": torch.zeros(5, 5)}, {"step": "7"}, r"model.weight: shape \(5, 5\) instead of shape \(2, 3\)"),
        ({"model.weight": None}, {"step": "7"}, "model.weight: no such tensor"),
        ({"optimizer.0.exp_avg": torch.zeros(5)}, {"step": "7"}, r"optimizer.0.exp_avg: shape \(5,\)"),
        ({"optimizer.1.exp_avg": None}, {"step": "7"}, "optimizer.1: exp_avg_sq, step, of 2 parameters"),
        ({"optimizer.many.step": torch.zeros(())}, {"step": "7"}, "invalid literal"),
        ({"optimizer.9.step": torch.zeros(())}, {"step": "7"}, "optimizer.9: step, of 2 parameters"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_an_error(
    folder: Path, change: dict[str, torch.Tensor | None], metadata: dict[str, str], said: str
) -> None:
    checkpoint(folder)
    tensors = {name: value for name, value in (load_file(folder / CHECKPOINT) | change).items() if value is not None}
    (folder / CHECKPOINT).write_bytes(save(tensors, metadata={"identity": "same", **metadata}))
    module, optimizer = network()
    with pytest.raises(RunError, match=f"is damaged\n  got: .*{said}"):
        load_checkpoint(folder, module.state_dict(), optimizer, "same")
