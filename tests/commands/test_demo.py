"""The demo as a newcomer meets it: one command, everything in one folder, the same figures again."""

from pathlib import Path

import pytest

import clipada
from clipada.commands.demo import Demo
from clipada.config import Config, DemoConfig, RuntimeConfig
from clipada.data import load_dataset
from clipada.data.demo import PRODUCTS
from clipada.errors import CalibrationError, DatasetError, RunError
from clipada.runs import ADAPTER, read_run
from clipada.types import Progress

PARTS = DemoConfig(train=2, good=1, defective=1, held_out=2, false_alarm_rate=0.8)
RUNTIME = RuntimeConfig(device="cpu", workers=0)
KINDS = sum(1 + len(product.defects) for product in PRODUCTS)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, clip_folder: Path) -> tuple[Demo, list[Progress]]:
    """A demo of seconds: to be read only."""
    steps: list[Progress] = []
    out = tmp_path_factory.mktemp("demo") / "demo"
    return clipada.demo(out, settings(clip_folder), parts=PARTS, runtime=RUNTIME, report=steps.append), steps


def settings(clip_folder: Path) -> Config:
    return Config.preset("demo").updated(
        {
            "backbone.name": str(clip_folder),
            "backbone.block": 2,
            "prompt.prefix": "a photo of a",
            "model.image_size": 64,
            "training.epochs": 2,
            "training.milestones": (1,),
        }
    )


def test_it_leaves_images_a_model_figures_and_pictures(finished: tuple[Demo, list[Progress]]) -> None:
    result, _ = finished
    names = [product.name for product in PRODUCTS]
    assert list(result.evaluation.categories) == names
    assert read_run(result.run.folder).metrics is not None
    assert result.run.training.categories == dict.fromkeys(names, 2)
    assert {name: limits.images for name, limits in result.calibration.groups.items()} == dict.fromkeys(names, 2)
    assert len(result.predictions) == KINDS
    assert all(prediction.defective is not None for prediction in result.predictions)
    for prediction in result.predictions:
        assert prediction.path is not None
        assert (
            (result.pictures / prediction.path.relative_to(result.data))
            .with_name(f"{prediction.path.name}.overlay.png")
            .exists()
        )


def test_it_reports_every_step(finished: tuple[Demo, list[Progress]]) -> None:
    result, steps = finished
    stages = list(dict.fromkeys(step.stage for step in steps))
    for stage in stages:
        of_stage = [step for step in steps if step.stage == stage]
        assert [step.done for step in of_stage] == list(range(1, of_stage[-1].total + 1))
    assert [step.epoch for step in steps if step.end_of_epoch and step.losses] == [1, 2]
    counts = {step.stage: step.total for step in steps}
    assert counts["drawing parts"] == len(load_dataset(result.data).samples)
    assert counts["evaluating"] == len(load_dataset(result.data).test)
    assert counts["predicting"] == KINDS


def test_called_again_it_keeps_images_and_model(finished: tuple[Demo, list[Progress]], clip_folder: Path) -> None:
    result, _ = finished
    adapter = result.run.folder / ADAPTER
    before = adapter.stat().st_mtime_ns
    steps: list[Progress] = []
    again = clipada.demo(result.data.parent, settings(clip_folder), parts=PARTS, runtime=RUNTIME, report=steps.append)
    assert {step.stage for step in steps} == {"calibrating", "evaluating", "predicting", "reporting"}
    assert adapter.stat().st_mtime_ns == before
    assert again.evaluation.categories == result.evaluation.categories


def test_other_settings_or_other_parts_do_not_pass_for_these(
    finished: tuple[Demo, list[Progress]], clip_folder: Path
) -> None:
    out = finished[0].data.parent
    with pytest.raises(RunError, match="other settings"):
        clipada.demo(out, settings(clip_folder).updated({"training.seed": 1}), parts=PARTS, runtime=RUNTIME)
    with pytest.raises(DatasetError, match="in the way"):
        clipada.demo(out, settings(clip_folder), parts=DemoConfig(train=3), runtime=RUNTIME)


def test_too_few_held_out_parts_are_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"at least 59(?s:.)*got: 20"):
        clipada.demo(tmp_path / "demo", parts=DemoConfig(held_out=20))
    assert not (tmp_path / "demo").exists()


@pytest.mark.slow
def test_one_seed_gives_one_table(finished: tuple[Demo, list[Progress]], clip_folder: Path, tmp_path: Path) -> None:
    first = finished[0]
    second = clipada.demo(tmp_path / "again", settings(clip_folder), parts=PARTS, runtime=RUNTIME)
    tables = [demo.evaluation.to_dict() for demo in (first, second)]
    assert all(table["decisions"].pop("calibration") for table in tables)  # named by its time too
    assert tables[0] == tables[1]
    assert (second.run.folder / ADAPTER).read_bytes() == (first.run.folder / ADAPTER).read_bytes()
