"""A memory of few good images: no filter below a number, stand-ins for a second image, copies only where they help."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from backbone_families import make_backbone
from clipada.calibration import needed_images, threshold_rank, with_attainable_rate
from clipada.commands.train import train
from clipada.config import CalibrationConfig, Config, RuntimeConfig
from clipada.data import Dataset, load_dataset
from clipada.inspection import Inspector
from clipada.report.card import run_summary
from clipada.runs import Run, read_run
from clipada.training.copies import MOST_COPIED, NONE, References, choose_copies, copies_each, drawn_copies
from clipada.training.split import describe_few, learned_products
from clipada.types import Verdict
from documents import ROOT
from tiny import write_products

RUNTIME = RuntimeConfig(device="cpu", workers=0, cache_gigabytes=0)


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_products(tmp_path_factory.mktemp("products"))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = make_backbone(tmp_path_factory.mktemp("dinov2"), "dinov2")
    changes = {"backbone.name": str(folder), "backbone.blocks": (1, 2), "model.image_size": 64, "memory.rows": 96}
    return Config.preset("accurate").updated(changes)


def test_the_table_of_the_page_says_what_the_code_does() -> None:
    """How many images for which guarantee, and from how many on there is a filter."""
    lines = (ROOT / "docs" / "few-images.md").read_text().split("## How many")[1].split("## ")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if re.match(r"\| \d", line)]
    kinds = Counter(row[2].split()[-1] for row in rows)
    assert kinds == {"picture": 1, "cross-fitted": 4, "out": 3}
    for images, training, thresholds, alarms in rows:
        numbers = [int(number) for number in re.findall(r"\d+", images)]
        if thresholds.endswith("held out"):
            held_out, rate = int(thresholds.split()[0]), int(re.findall(r"(\d+) %", alarms)[0]) / 100
            assert needed_images(CalibrationConfig(false_alarm_rate=rate)) == held_out == numbers[1]
        elif thresholds == "cross-fitted":
            asked = CalibrationConfig(false_alarm_rate=0.01, mode="marginal")
            ranks = [threshold_rank(count, with_attainable_rate(asked, count)) for count in numbers]
            expected = [f"1 in {(count + 1) // rank}" for count, rank in zip(numbers, ranks, strict=True)]
            assert re.findall(r"1 in \d+", alarms) == expected
        if training.startswith("memory and filter"):
            assert numbers[0] == Config().filter.least_images


def first_images(dataset: Dataset, count: int) -> Dataset:
    kept = [sample for name in dataset.categories for sample in dataset.of(name).train[:count]]
    return replace(dataset, samples=(*kept, *dataset.test))


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory, products: Path, settings: Config) -> Run:
    dataset = first_images(load_dataset(products), 1)
    return train(dataset, tmp_path_factory.mktemp("run") / "run", settings, runtime=RUNTIME)


def test_one_image_of_each_product_makes_a_run_without_a_filter(single: Run) -> None:
    recorded = read_run(single.folder)
    assert recorded.memory_sha256
    assert recorded.filter_sha256 is None
    assert recorded.training.filtered == ()
    assert recorded.training.copies.keys() == {"disc", "plate"}
    assert all(0 < level < 1 for level in recorded.training.normal_levels.values())


def test_a_run_of_one_image_ranks_defects_above_good_parts(single: Run, products: Path) -> None:
    inspector, dataset = Inspector.load(single, engine="torch", device="cpu"), load_dataset(products)
    results = list(inspector.inspect_files([sample.path for sample in dataset.test]))
    verdicts = [result for result in results if isinstance(result, Verdict)]
    scores = {True: [], False: []}
    for sample, verdict in zip(dataset.test, verdicts, strict=True):
        scores[sample.anomalous].append(verdict.score)
    assert np.mean(scores[True]) > np.mean(scores[False])
    good = [v for s, v in zip(dataset.test, verdicts, strict=True) if not s.anomalous]
    assert all(verdict.inspectable for verdict in good), [verdict.input_reason for verdict in good]


def test_the_filter_learns_only_from_products_with_enough_images() -> None:
    config = Config.preset("accurate")
    assert learned_products({"a": 20, "b": 21}, config) == ("b",)
    assert learned_products({"a": 20}, config) == ()
    assert learned_products({"a": 2}, config.updated({"filter.least_images": 2})) == ("a",)
    assert learned_products({"a": 500}, Config.preset("quick")) == ()


def test_few_images_are_said_in_words(products: Path) -> None:
    dataset, config = load_dataset(products), Config.preset("accurate")
    assert "a memory alone, nothing is trained" in (describe_few(dataset.train, config) or "")
    assert describe_few(dataset.train, config.updated({"filter.least_images": 2})) is None
    assert describe_few(dataset.train, Config.preset("quick")) is None
    two = [sample for sample in dataset.train if sample.category == "disc"] + list(dataset.of("plate").train[:3])
    few = describe_few(two, config.updated({"filter.least_images": 4}))
    assert (
        few
        == "few good images of plate (3): the filter learns from disc alone; with 4 or more of a product, from it too"
    )


def test_statistics_of_a_single_image_come_from_changed_copies_of_it() -> None:
    image = np.random.default_rng(0).integers(0, 255, (1, 32, 32, 3), dtype=np.uint8)
    own = References.of(image, torch.tensor([0]), "none", 0)
    assert own.originals == len(own.images) == 1
    assert (own.left_out == NONE).all()
    assert all((one != image[0]).any() for one in own.searched)


def test_copies_belong_to_their_image_and_stay_few() -> None:
    images = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
    own = References.of(images, torch.arange(3), "turned", 0)
    each = copies_each(3)
    assert own.originals == 3
    assert len(own.images) == 3 * (1 + each)
    assert torch.bincount(own.sources).tolist() == [1 + each] * 3
    assert copies_each(MOST_COPIED) >= 7
    assert copies_each(MOST_COPIED + 1) == 0
    assert Config().filter.least_images == MOST_COPIED + 1


def test_a_turned_copy_is_the_image_turned() -> None:
    images = np.random.default_rng(0).integers(0, 255, (1, 32, 32, 3), dtype=np.uint8)
    copies, _ = drawn_copies(images, "turned", 0)
    half = copies[len(copies) // 2].astype(int)
    assert len(copies) % 4 == 3
    assert np.abs(half - np.rot90(images[0], 2)).max() <= 1
    assert np.abs(copies[len(copies) // 4].astype(int) - np.rot90(images[0], axes=(0, 1))).max() <= 1


def pixels_as_tokens(images: np.ndarray) -> torch.Tensor:
    """Read the pixels of each square of 8 x 8 as a token, and 1 beside them, so that gray levels differ too."""
    gray = torch.from_numpy(images.astype(np.float32)).mean(3) / 255
    squares = gray.reshape(len(images), 8, 8, 8, 8).permute(0, 1, 3, 2, 4).reshape(len(images), 64, 1, 64)
    return torch.nn.functional.normalize(torch.cat([squares, torch.ones(*squares.shape[:3], 1)], dim=3), dim=3)


@pytest.mark.parametrize("kind", ["turned", "none"])
def test_copies_are_kept_where_good_parts_are_turned_and_not_where_they_stand_still(kind: str) -> None:
    """A dark bar on a bright ground, in any of four directions or always in the same one."""
    rng = np.random.default_rng(3)
    upright = np.full((64, 64, 3), 200, np.uint8)
    upright[8:56, 28:36] = np.linspace(30, 150, 48).astype(np.uint8)[:, None, None]
    turns = [0, 1, 2, 3] if kind == "turned" else [0, 0, 0, 0]
    images = np.stack([np.rot90(upright, turn) for turn in turns]).astype(int) + rng.integers(-2, 3, (4, 64, 64, 3))
    products = {"bar": images.clip(0, 255).astype(np.uint8)}
    assert choose_copies("bar", products, pixels_as_tokens, (8, 8), 0) == kind


def test_the_description_of_the_run_says_that_it_has_no_filter_and_why(single: Run) -> None:
    summary = run_summary(read_run(single.folder))
    assert summary["filter"] == "none: fewer than 21 good images of each product"
