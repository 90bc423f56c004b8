"""The plan: which runs, shared among the tables, and hours from images per second."""

from dataclasses import replace
from pathlib import Path

import pytest

from brief_baselines import BASELINE_SIZES
from clipada.commands.reproduce import plan_reproduction
from clipada.config import BaselinesConfig, Config, RuntimeConfig
from clipada.data import Dataset, load_dataset
from clipada.errors import BackboneError, ConfigError, DatasetError
from clipada.research.baselines import BASELINES
from clipada.research.paper.baselines import needed_contenders
from clipada.research.paper.experiments import ITEMS, chosen_items, distinct, needed_experiments
from clipada.research.paper.operations import baseline_operations, look_operations
from clipada.research.paper.plan import make_plan
from clipada.research.paper.throughput import ScaledPace
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
    plan = make_plan(needed, dataset, ScaledPace(2.0, dataset))
    by_variant = {run.experiment.variant: run for run in plan.runs}
    main, tenth = by_variant["r1-learned"], by_variant["share-10"]
    assert (main.images, tenth.images) == (7 * 16 * 10, 16 * 10)  # whole batches
    assert main.items == ("table1", "figure6")
    # a step of R = 1 looks three times as far as two forward passes' half: 3 looks in training, 2 in scoring
    assert main.hours * 3600 == pytest.approx(1120 / 2.0 + 20 / (2.0 * 3 / 2))
    assert plan.hours == pytest.approx(sum(run.hours for run in plan.runs))


def test_speeds_of_the_variants_follow_from_one(config: Config, dataset: Dataset, tmp_path: Path) -> None:
    runs = [one for item in ITEMS["mvtec"] for one in needed_experiments(item, config, 1, dataset, "", tmp_path)]
    pace = ScaledPace(30.0, dataset)
    speeds = {run.variant: pace.rates(run).learning for run in runs}
    assert speeds["r1-learned"] == speeds["r1-fixed"] == speeds["share-10"] == speeds["tune-text"] == 30
    assert speeds["r0-learned"] == 90  # one look instead of two there and one back
    assert speeds["r2-learned"] == 18
    assert speeds["tune-image"] == speeds["tune-both"] == 15
    detached = config.updated({"model.detach_attention": True})
    (run,) = needed_experiments("table1", detached, 1, dataset, "", tmp_path)
    assert pace.rates(run).learning == 30


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
    seen = {run.experiment.label: run.images for run in plan.runs if run.items == ("table1", "table2")}
    assert seen == {"memory-bank, seed 0": 12, "zero-shot": 0, "reconstruction, seed 0": 24, "draem, seed 0": 24}


def test_baselines_cost_what_they_compute(dataset: Dataset, config: Config, tmp_path: Path) -> None:
    """Beside ViT-B/16's 12 blocks, known to take 17.6 GMAC of 224 pixels with its ends."""
    vit = replace(config.backbone, name="/nowhere", block=12)
    assert look_operations(vit, 224) / 2e9 == pytest.approx(17.4, abs=0.2)
    papers = BaselinesConfig()
    costs = {name: baseline_operations(name, papers, vit, 256, dataset) for name in BASELINES}
    look = look_operations(vit, 256)
    assert costs["memory-bank"].learning == look
    assert costs["reconstruction"].learning < 2 * look < 6 * look < costs["draem"].scoring
    assert costs["draem"].learning == 3 * costs["draem"].scoring
    assert costs["zero-shot"].scoring == pytest.approx(look * (1 + (225 * 5 + 196 * 10) / 257), rel=0.05)
    halved = replace(papers.draem, width=64)
    half = baseline_operations("draem", replace(papers, draem=halved), vit, 256, dataset)
    assert half.scoring == pytest.approx(costs["draem"].scoring / 4, rel=0.05)
    (run,) = needed_contenders(replace(papers, include=("draem",)), config, 1, dataset, "", tmp_path)
    at_256 = replace(run, config=run.config.updated({"model.image_size": 256, "backbone.name": "/nowhere"}))
    at_256 = replace(at_256, config=at_256.config.updated({"backbone.block": 12}))
    assert ScaledPace(30.0, dataset).rates(at_256).learning == pytest.approx(30 * 3 * look / costs["draem"].learning)


TUNED = ("tune-both", "tune-image", "tune-text")
