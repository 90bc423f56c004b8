"""The plan: the runs, shared by the tables, and their hours."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from brief_baselines import BASELINE_SIZES
from clipada.commands.reproduce import plan_reproduction
from clipada.config import Config, RuntimeConfig
from clipada.data import Dataset, load_dataset
from clipada.errors import BackboneError, ConfigError, DatasetError
from clipada.research.baselines import BASELINES
from clipada.research.paper import PlannedRun
from clipada.research.paper.experiments import ITEMS, chosen_items, distinct, needed_experiments

CPU = RuntimeConfig(device="cpu", workers=0)


@pytest.fixture
def dataset(products: Path) -> Dataset:
    return load_dataset(products)


def test_tables_share_their_runs(config: Config, dataset: Dataset, tmp_path: Path) -> None:
    needed = {item: needed_experiments(item, config, None, dataset, "abc", tmp_path) for item in ITEMS["mvtec"]}
    runs = distinct(one for its in needed.values() for one in its)
    assert len(runs) == 6 + 3 + 5  # passes and prompts, encoders, shares
    assert len({run.folder for run in runs}) == 14
    for item in ("table1", "table2", "figure3", "table4", "table5", "figure6"):
        assert needed["table1"][0] in needed[item]
    ablation = needed_experiments("ablation", config, None, dataset, "abc", tmp_path)
    assert sorted(run.config.training.seed for run in ablation) == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    assert set(needed["table6"]) <= set(ablation)


def test_a_run_folder_depends_on_all_that_determines_the_result(
    config: Config, dataset: Dataset, tmp_path: Path
) -> None:
    def folder(config: Config = config, dataset: Dataset = dataset, backbone: str = "abc") -> Path:
        return needed_experiments("table1", config, 1, dataset, backbone, tmp_path)[0].folder

    free = {"training.checkpoint_seconds": 1.0, "model.refinements": 0, "backbone.name": "elsewhere"}
    assert folder(config.updated(free)) == folder()  # R is set by the table, and the backbone's folder may move
    fewer = replace(dataset, samples=dataset.samples[1:])
    others = [
        folder(config.updated({"training.epochs": 4})),
        folder(config.updated({"scoring.sigma": 1.0})),
        folder(dataset=fewer),
        folder(backbone="abd"),
    ]
    assert len({folder(), *others}) == 5
    with pytest.raises(ConfigError, match=r"nothing called table3(?s:.*)one of table1"):
        chosen_items("mvtec", ["table3"])
    assert chosen_items("mvtec", ["figure6", "table1"]) == ("table1", "figure6")


def planned(dataset: Dataset, out: Path, config: Config, **options: Any) -> dict[str, PlannedRun]:
    """Plan from 10 images/s, by label."""
    options = {"images_per_second": 10, "seeds": 1, "baselines": BASELINE_SIZES, **options}
    return {one.run.label: one for one in plan_reproduction("mvtec", dataset, out, config, **options).runs}


def test_more_epochs_take_proportionally_more_hours(config: Config, dataset: Dataset, tmp_path: Path) -> None:
    def learning_hours(scale: int) -> dict[str, float]:
        longer = config.updated({"training.epochs": 10 * scale, "training.milestones": ()})
        baselines = BASELINE_SIZES.scaled(scale)
        return {
            label: one.images / one.rate
            for label, one in planned(dataset, tmp_path, longer, baselines=baselines).items()
            if one.rate
        }

    short, long = learning_hours(1), learning_hours(3)
    assert {"r1-learned, seed 0", "draem, seed 0", "reconstruction, seed 0"} <= set(short)
    for label, hours in short.items():
        assert long[label] == pytest.approx(hours if "bank" in label else 3 * hours)


def test_twice_the_speed_takes_half_the_hours(config: Config, dataset: Dataset, tmp_path: Path) -> None:
    slow, fast = (planned(dataset, tmp_path, config, images_per_second=speed) for speed in (10, 20))
    for label, one in slow.items():
        assert one.hours == pytest.approx(2 * fast[label].hours)


def test_the_given_speed_is_that_of_one_pass_and_costlier_runs_are_slower(
    config: Config, dataset: Dataset, tmp_path: Path
) -> None:
    runs = planned(dataset, tmp_path, config)
    rates = {label.partition(",")[0]: one.rate for label, one in runs.items()}
    assert {rates[name] for name in ("r1-learned", "r1-fixed", "tune-text", "share-10")} == {10}
    assert rates["r0-learned"] > rates["r1-learned"] > rates["r2-learned"]
    assert rates["r1-learned"] > rates["tune-image"] == rates["tune-both"]
    assert runs["share-10, seed 0"].hours < runs["share-50, seed 0"].hours < runs["r1-learned, seed 0"].hours
    wider = replace(BASELINE_SIZES, draem=replace(BASELINE_SIZES.draem, width=16))
    assert planned(dataset, tmp_path, config, baselines=wider)["draem, seed 0"].rate < rates["draem"]


def test_a_plan_needs_neither_images_nor_backbone_when_the_speed_is_given(
    config: Config, products: Path, tmp_path: Path
) -> None:
    for path in products.rglob("*.png"):
        path.write_bytes(b"")
    gone = config.updated({"backbone.name": str(tmp_path / "gone"), "model.image_size": 256})
    plan = plan_reproduction("mvtec", products, tmp_path / "out", gone, images_per_second=100)
    assert len(plan.runs) == 14 + 4
    assert all(run.hours > 0 for run in plan.runs)
    assert not (tmp_path / "out").exists()
    arguments = "mvtec", products, tmp_path / "out"
    with pytest.raises(BackboneError):
        plan_reproduction("mvtec", products, tmp_path / "out", gone, runtime=CPU)
    with pytest.raises(DatasetError, match="can be read"):
        plan_reproduction(*arguments, config, only=["table1"], runtime=CPU, baselines=BASELINE_SIZES)


def test_a_plan_measures_each_kind_of_training_once(config: Config, products: Path, tmp_path: Path) -> None:
    timed: list[str] = []
    plan = plan_reproduction(
        *("mvtec", products, tmp_path / "out", config),
        runtime=CPU,
        baselines=BASELINE_SIZES,
        report=lambda step: timed.append(step.stage),
    )
    assert timed == [f"timing {name}" for name in ("r1-learned", *BASELINES, "r0-fixed", "r2-fixed", *TUNED)]
    assert all(run.hours > 0 and (run.rate > 0) == (run.images > 0) for run in plan.runs)
    assert not (tmp_path / "out").exists()
    seen = {run.run.label: run.images for run in plan.runs if run.items == ("table1", "table2")}
    assert seen == {"memory-bank, seed 0": 12, "zero-shot": 0, "reconstruction, seed 0": 24, "draem, seed 0": 24}


TUNED = ("tune-both", "tune-image", "tune-text")
