"""Every baseline is an engine: scored like the method, the same again from the same seed, and it has learned."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from brief_baselines import BRIEF, DRAEM, RECONSTRUCTION
from clipada.config import ScheduleConfig, ScoringConfig
from clipada.data import Dataset, load_dataset, read_batches
from clipada.errors import ConfigError, DatasetError, RunError
from clipada.evaluation.evaluate import Evaluation, evaluate_dataset
from clipada.research.baselines import BASELINES, BaselineEngine, Fit, FitContext, fit_draem, fit_reconstruction
from clipada.research.baselines.engine import to_unit
from clipada.scoring import image_score, smooth
from clipada.types import Progress

SCORING = ScoringConfig(sigma=2.0, top_pixels=2000)
NAMES = list(BASELINES)
LEARNED = [name for name in NAMES if name != "zero-shot"]
Fitted = Callable[[str], BaselineEngine]


def evaluate(engine: BaselineEngine, dataset: Dataset) -> Evaluation:
    return evaluate_dataset(engine, dataset, SCORING, workers=1)


def pictures(dataset: Dataset) -> np.ndarray:
    return next(iter(read_batches([sample.path for sample in dataset.test], (32, 32), 8, 1))).images


@pytest.mark.parametrize("name", NAMES)
def test_every_baseline_is_scored_as_the_method_is(name: str, fitted: Fitted, two_products: Dataset) -> None:
    """Maps of range 0..1 at the image's size; in the result a table for every category, and nothing left out."""
    maps = fitted(name).localize(pictures(two_products)).maps
    assert maps.shape == (1, 8, 32, 32)
    assert maps.dtype == np.float32
    assert maps.min() >= 0
    assert maps.max() <= 1
    assert maps.std() > 0
    evaluation = evaluate(fitted(name), two_products)
    assert set(evaluation.categories) == {"plate", "disc"}
    assert not evaluation.failures


@pytest.mark.parametrize(("name", "at_least"), [("memory-bank", 0.9), ("reconstruction", 0.8), ("draem", 0.65)])
def test_scratches_are_found_on_products_of_two_kinds(
    name: str, at_least: float, fitted: Fitted, two_products: Dataset
) -> None:
    """Chance is 0.5. DRAEM's few steps give 0.72 to 0.98 by seed and schedule, and sort the images right in all."""
    for metrics in evaluate(fitted(name), two_products).categories.values():
        assert metrics.image_auroc == 1
        assert metrics.pixel_auroc > at_least


@pytest.mark.parametrize("name", NAMES)
def test_the_papers_own_image_score_can_be_had_as_a_pass(name: str, fitted: Fitted, two_products: Dataset) -> None:
    """Smoothing and the mean of the top pixels preserve it; the final map does not change."""
    engine, images = fitted(name), pictures(two_products)
    scored = engine.with_paper_scores()
    both = scored.localize(images).maps
    with torch.inference_mode():
        scores = engine.detector(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255).scores
    np.testing.assert_array_equal(both[1], engine.localize(images).maps[0])
    for raw, score in zip(both[0], scores, strict=True):
        assert image_score(smooth(raw, 4.0), SCORING) == pytest.approx(float(score), abs=1e-6)
    assert evaluate(scored, two_products).categories == evaluate(engine, two_products).categories


@pytest.mark.parametrize("name", LEARNED)
def test_the_same_seed_gives_the_same_maps(
    name: str, brief: Mapping[str, Fit], context: FitContext, two_products: Dataset
) -> None:
    """Independent of PyTorch's global generator, which is left as it was; another seed gives other maps."""
    images = pictures(two_products)
    reports: list[Progress] = []
    maps = []
    for seed in (0, 0, 1):
        torch.rand(3)
        state = torch.get_rng_state()
        engine = brief[name](replace(context, seed=seed, report=reports.append))
        assert torch.equal(torch.get_rng_state(), state)
        maps.append(engine.localize(images).maps)
    np.testing.assert_array_equal(maps[0], maps[1])
    assert not np.array_equal(maps[0], maps[2])
    assert reports[-1].done == reports[-1].total


@pytest.mark.parametrize("name", LEARNED)
def test_an_unreadable_image_is_left_out_and_named(
    name: str, brief: Mapping[str, Fit], context: FitContext, products: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (products / "disc" / "train" / "good" / "000.png").write_bytes(b"no image")
    brief[name](replace(context, dataset=load_dataset(products)))
    assert any("000.png" in record.message for record in caplog.records)
    for path in products.glob("*/train/good/*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(DatasetError, match="training images can be read"):
        brief[name](replace(context, dataset=load_dataset(products)))


@pytest.mark.parametrize(
    "fit", [partial(fit_draem, settings=DRAEM), partial(fit_reconstruction, settings=RECONSTRUCTION)]
)
def test_a_training_that_diverges_says_so(fit: partial[BaselineEngine], context: FitContext) -> None:
    settings = replace(fit.keywords["settings"], schedule=replace(BRIEF, epochs=2, learning_rate=1e30))
    with pytest.raises(RunError, match="diverged in step"):
        fit(context, settings=settings)


def test_a_schedule_is_checked_and_can_be_shortened() -> None:
    schedule = ScheduleConfig(epochs=700, batch_size=8, learning_rate=1e-4, milestones=(400, 600), decay=0.1)
    assert schedule.lasting(7) == replace(schedule, epochs=7, milestones=(4, 6))
    with pytest.raises(ConfigError, match="milestones"):
        replace(schedule, epochs=500)


def test_values_keep_their_order_on_the_way_to_0_to_1_and_their_ratios_below_the_knee() -> None:
    values = torch.tensor([0.0, 0.5, 1.0, 2.0, 2.001, 4.0, 1e6])
    unit = to_unit(values, 2.0)
    torch.testing.assert_close(unit[:4], values[:4] / 4)
    torch.testing.assert_close(unit[5], torch.tensor(0.75))
    assert (unit.diff() > 0).all()
    assert unit[-1] < 1
