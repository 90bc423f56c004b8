"""The plan: which runs, shared among the tables, and hours from images per second."""

from dataclasses import replace
from pathlib import Path

import pytest

from clipada.config import Config, RuntimeConfig
from clipada.data import Dataset, load_dataset
from clipada.errors import BackboneError, ConfigError, DatasetError
from clipada.experiments import plan_reproduction
from clipada.experiments.plan import cost_of, make_plan, scaled_rates
from clipada.experiments.runs import ITEMS, VARIANTS, chosen_items, distinct, needed_experiments
from clipada.types import Sample

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


def test_a_run_folder_is_of_all_that_decides_the_result(config: Config, dataset: Dataset, tmp_path: Path) -> None:
    def folder(config: Config = config, dataset: Dataset = dataset, backbone: str = "abc") -> Path:
        return needed_experiments("table1", config, 1, dataset, backbone, tmp_path)[0].folder

    free = {"training.checkpoint_seconds": 1.0, "model.refinements": 0, "backbone.name": "elsewhere"}
    assert folder(config.updated(free)) == folder()  # R is the table's own, and a folder may move
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


def test_hours_are_images_over_images_per_second(config: Config, tmp_path: Path) -> None:
    samples = [Sample(path=Path(f"{i}.png"), category="a", split="train") for i in range(100)]
    samples += [Sample(path=Path(f"t{i}.png"), category="a", split="test") for i in range(20)]
    dataset = Dataset(root=Path(), layout="mvtec", samples=tuple(samples))
    config = config.updated({"training.epochs": 10, "training.batch_size": 16, "training.milestones": ()})
    needed = {item: needed_experiments(item, config, 1, dataset, "", tmp_path) for item in ("table1", "figure6")}
    rates = scaled_rates(2.0, needed["table1"])
    plan = make_plan(needed, dataset, rates, "given")
    by_variant = {run.experiment.variant: run for run in plan.runs}
    main, tenth = by_variant["r1-learned"], by_variant["share-10"]
    assert (main.images, tenth.images) == (7 * 16 * 10, 16 * 10)  # whole batches
    assert main.items == ("table1", "figure6")
    # a step of R = 1 looks three times as far as two forward passes' half: 3 looks in training, 2 in scoring
    assert main.hours * 3600 == pytest.approx(1120 / 2.0 + 20 / (2.0 * 3 / 2))
    assert plan.hours == pytest.approx(sum(run.hours for run in plan.runs))


def test_speeds_of_the_variants_follow_from_one(config: Config, dataset: Dataset, tmp_path: Path) -> None:
    runs = [one for item in ITEMS["mvtec"] for one in needed_experiments(item, config, 1, dataset, "", tmp_path)]
    rates = scaled_rates(30.0, runs)
    speeds = {name: rates[cost_of(config.updated(VARIANTS[name]))] for name in VARIANTS}
    assert speeds["r1-learned"] == speeds["r1-fixed"] == speeds["share-10"] == speeds["tune-text"] == 30
    assert speeds["r0-learned"] == 90  # one look instead of two there and one back
    assert speeds["r2-learned"] == 18
    assert speeds["tune-image"] == speeds["tune-both"] == 15
    detached = config.updated({"model.detach_attention": True})
    (run,) = needed_experiments("table1", detached, 1, dataset, "", tmp_path)
    assert scaled_rates(30.0, [run]) == {cost_of(run.config): 30}


def test_a_plan_needs_neither_images_nor_backbone_when_the_speed_is_given(
    config: Config, products: Path, tmp_path: Path
) -> None:
    for path in products.rglob("*.png"):
        path.write_bytes(b"")
    gone = config.updated({"backbone.name": str(tmp_path / "gone")})
    plan = plan_reproduction("mvtec", products, tmp_path / "out", gone, images_per_second=100, runtime=CPU)
    assert len(plan.runs) == 14
    assert plan.hours > 0
    assert not (tmp_path / "out").exists()
    with pytest.raises(BackboneError):
        plan_reproduction("mvtec", products, tmp_path / "out", gone, runtime=CPU)
    with pytest.raises(DatasetError, match="can be read"):
        plan_reproduction("mvtec", products, tmp_path / "out", config, only=["table1"], runtime=CPU)


def test_a_plan_measures_each_kind_of_training_once(config: Config, products: Path, tmp_path: Path) -> None:
    timed: list[str] = []
    plan = plan_reproduction(
        "mvtec", products, tmp_path / "out", config, runtime=CPU, report=lambda step: timed.append(step.stage)
    )
    assert timed == [f"timing {name}" for name in ("r1-learned", "r0-fixed", "r2-fixed", *TUNED)]
    assert all(run.rate > 0 and run.hours > 0 for run in plan.runs)
    assert not (tmp_path / "out").exists()


TUNED = ("tune-both", "tune-image", "tune-text")
