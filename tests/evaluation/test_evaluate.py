"""Evaluation: what is known by construction comes out, what cannot be used is left out and counted, JSON is JSON."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipada.config import ScoringConfig
from clipada.data import load_dataset
from clipada.errors import DatasetError
from clipada.evaluation.evaluate import Evaluation, ScoredImage, evaluate_dataset
from clipada.types import Localization
from tiny import save

SIZE = 40
FIELDS = [
    "image_auroc",
    "pixel_auroc",
    "pixel_ap",
    "aupro",
    "image_ap",
    "image_f1_max",
    "pixel_f1_max",
    "n_normal",
    "n_anomalous",
]
SCORING = ScoringConfig(sigma=0.0, top_pixels=40)


class Oracle:
    """Sees the truth, for the scratches of the test data are pure blue: the last map is ``verdict`` of it."""

    size = (SIZE, SIZE)
    depth = None
    passes = 2

    def __init__(self, verdict: Callable[[np.ndarray], np.ndarray] = lambda truth: truth) -> None:
        self.verdict = verdict
        self.seen = 0

    def localize(self, images: np.ndarray) -> Localization:
        assert images.shape[1:] == (SIZE, SIZE, 3)
        self.seen += len(images)
        truth = (images[..., 2].astype(int) - images[..., 0] > 100).astype(np.float32)
        return Localization(maps=np.stack([np.full_like(truth, 0.5), self.verdict(truth).astype(np.float32)]))


def part(box: tuple[int, int, int, int] | None) -> tuple[np.ndarray, np.ndarray]:
    """A gray part, a blue scratch in ``box`` if there is one, and its mask."""
    image, mask = np.full((SIZE, SIZE, 3), 90, np.uint8), np.zeros((SIZE, SIZE), bool)
    if box is not None:
        left, top, right, bottom = box
        mask[top:bottom, left:right] = True
        image[mask] = (0, 0, 255)
    return image, mask


def write_category(root: Path, name: str, normal: int, boxes: list[tuple[int, int, int, int]]) -> None:
    save(root / name / "train" / "good" / "000.png", part(None)[0])
    for index in range(normal):
        save(root / name / "test" / "good" / f"{index}.png", part(None)[0])
    for index, box in enumerate(boxes):
        image, mask = part(box)
        save(root / name / "test" / "scratch" / f"{index}.png", image)
        save(root / name / "ground_truth" / "scratch" / f"{index}_mask.png", mask)


@pytest.fixture
def bottles(tmp_path: Path) -> Path:
    root = tmp_path / "bottles"
    write_category(root, "bottle", 3, [(5, 5, 20, 12), (10, 20, 35, 30)])
    write_category(root, "cable", 1, [(1, 1, 30, 30)])
    return root


def scored(root: Path, engine: Oracle | None = None, **options: Any) -> Evaluation:
    return evaluate_dataset(engine or Oracle(), load_dataset(root), SCORING, **options)


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """What stands in the file; ``NaN`` and ``Infinity`` are no JSON."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    content: dict[str, Any] = json.loads(json.dumps(evaluation.to_dict()), parse_constant=refuse)
    return content


# --- known results


def test_the_truth_scores_one_everywhere(bottles: Path) -> None:
    evaluation = scored(bottles)
    for category, counts in (("bottle", (3, 2)), ("cable", (1, 1))):
        metrics = evaluation.categories[category].to_dict()
        assert [metrics[name] for name in FIELDS] == [1.0] * 7 + list(counts)
    assert as_json(evaluation)["mean"] == dict.fromkeys(FIELDS[:7], 1.0) | {"n_normal": 4, "n_anomalous": 3}
    assert evaluation.failures == ()


def test_the_contrary_of_the_truth_is_as_bad_as_can_be(bottles: Path) -> None:
    def contrary(truth: np.ndarray) -> np.ndarray:
        anomalous = truth.any(axis=(1, 2), keepdims=True)
        return np.where(truth > 0, 0, np.where(anomalous, 0.5, 1))

    for metrics in scored(bottles, Oracle(contrary)).categories.values():
        assert (metrics.image_auroc, metrics.pixel_auroc, metrics.aupro) == (0.0, 0.0, 0.0)
        assert metrics.pixel_ap is not None
        assert metrics.pixel_ap < 0.3
        assert metrics.image_ap is not None
        assert metrics.image_ap <= 0.5


def test_a_pass_that_sees_nothing_is_at_chance_beside_one_that_sees_all(bottles: Path) -> None:
    evaluation = scored(bottles)
    coarse = evaluation.passes[0]["bottle"]
    assert (coarse.image_auroc, coarse.pixel_auroc) == (0.5, 0.5)
    assert coarse.pixel_ap == pytest.approx((15 * 7 + 25 * 10) / (5 * SIZE**2))  # the share of anomalous pixels
    tables = as_json(evaluation)["passes"]
    assert [table["mean"]["image_auroc"] for table in tables] == [0.5, 1.0]


def test_metrics_json_is_laid_out_as_promised(bottles: Path) -> None:
    content = as_json(scored(bottles))
    assert list(content) == ["protocol", "categories", "mean", "passes", "decisions"]
    assert content["decisions"] is None  # without a calibration
    assert list(content["categories"]) == ["bottle", "cable"]
    for metrics in (*content["categories"].values(), content["mean"]):
        assert list(metrics) == FIELDS
    assert len(content["passes"]) == 2
    assert [list(table) for table in content["passes"]] == [["categories", "mean"]] * 2
    assert content["passes"][-1] == {name: content[name] for name in ("categories", "mean")}
    protocol = content["protocol"]
    assert protocol["data"] == "bottles"
    assert (protocol["image_size"], protocol["sigma"], protocol["top_pixels"]) == (SIZE, 0.0, 40)
    assert (protocol["aupro_fpr_limit"], protocol["left_out"]) == (0.3, [])
    assert "by area" in protocol["masks"]
    assert "plain mean over categories" in protocol["mean"]


@pytest.mark.parametrize("batch_size", [1, 2, 50])
def test_masks_stay_with_their_images_whatever_the_batch(bottles: Path, batch_size: int) -> None:
    engine, seen = Oracle(), list[ScoredImage]()
    evaluation = scored(bottles, engine, batch_size=batch_size, on_image=seen.append)
    assert evaluation.categories["bottle"].pixel_ap == 1.0
    assert engine.seen == len(seen) == len(evaluation.scores) == 7
    assert [record["path"] for record in evaluation.scores] == [str(s.path) for s in load_dataset(bottles).test]
    assert [record["anomalous"] for record in evaluation.scores] == [False] * 3 + [True] * 2 + [False, True]
    assert all(record["scores"] == [0.5, float(record["anomalous"])] for record in evaluation.scores)


# --- what cannot be used


def test_masks_that_do_not_match_are_left_out_and_counted(bottles: Path) -> None:
    image = bottles / "bottle" / "test" / "scratch" / "1.png"
    mask = bottles / "bottle" / "ground_truth" / "scratch" / "1_mask.png"
    save(mask, np.zeros((SIZE, SIZE + 9), bool))
    evaluation = scored(bottles)
    assert [failure.path for failure in evaluation.failures] == [image]
    assert f"mask {mask} does not match" in str(evaluation.failures[0].error)
    assert evaluation.categories["bottle"].n_anomalous == 1
    assert evaluation.categories["bottle"].pixel_ap == 1.0  # the other image kept its own mask
    assert as_json(evaluation)["protocol"]["left_out"] == [str(image)]
    assert str(image) not in {record["path"] for record in evaluation.scores}


def test_unreadable_images_and_masks_are_left_out_and_counted(bottles: Path) -> None:
    bad = [
        bottles / "bottle" / "test" / "good" / "1.png",
        bottles / "cable" / "test" / "scratch" / "0.png",
    ]
    bad[0].write_bytes(b"")
    (bottles / "cable" / "ground_truth" / "scratch" / "0_mask.png").write_text("no mask")
    evaluation = scored(bottles, batch_size=2)
    assert [failure.path for failure in evaluation.failures] == bad
    assert (evaluation.categories["bottle"].n_normal, evaluation.categories["cable"].n_anomalous) == (2, 0)
    assert as_json(evaluation)["protocol"]["left_out"] == [str(path) for path in bad]


def test_a_category_of_which_nothing_can_be_used_stands_in_no_table(bottles: Path) -> None:
    for path in (bottles / "cable" / "test").rglob("*.png"):
        path.write_bytes(b"")
    content = as_json(scored(bottles))
    assert list(content["categories"]) == ["bottle"]
    assert content["mean"]["n_normal"] == 3
    assert len(content["protocol"]["left_out"]) == 2


def test_nothing_usable_at_all_is_an_error(bottles: Path) -> None:
    for path in bottles.glob("*/test/*/*.png"):
        path.write_bytes(b"")
    with pytest.raises(DatasetError, match=r"no test image of .* can be used") as caught:
        scored(bottles)
    assert "an empty file" in str(caught.value)
    assert caught.value.remedy


def test_nothing_to_test_on_is_an_error(tmp_path: Path) -> None:
    write_category(tmp_path, "bottle", 0, [])
    with pytest.raises(DatasetError, match="nothing to test on"):
        scored(tmp_path)


# --- what is undefined is None, never a crash and never NaN


def test_normal_images_alone_have_no_metrics(tmp_path: Path) -> None:
    write_category(tmp_path, "bottle", 3, [])
    content = as_json(scored(tmp_path))
    assert content["mean"] == dict.fromkeys(FIELDS[:7]) | {"n_normal": 3, "n_anomalous": 0}


def test_anomalous_images_alone_have_pixel_metrics_alone(tmp_path: Path) -> None:
    write_category(tmp_path, "bottle", 0, [(5, 5, 20, 12), (10, 20, 35, 30)])
    metrics = scored(tmp_path).categories["bottle"]
    assert (metrics.image_auroc, metrics.image_ap, metrics.image_f1_max) == (None, None, None)
    assert (metrics.pixel_auroc, metrics.pixel_ap, metrics.aupro, metrics.pixel_f1_max) == (1.0, 1.0, 1.0, 1.0)


def test_anomalous_images_without_masks_have_image_metrics_alone(bottles: Path) -> None:
    for path in (bottles / "cable" / "ground_truth").rglob("*.png"):
        path.unlink()
    evaluation = scored(bottles)
    cable = evaluation.categories["cable"]
    assert (cable.image_auroc, cable.pixel_ap, cable.aupro, cable.n_anomalous) == (1.0, None, None, 1)
    assert as_json(evaluation)["mean"]["pixel_ap"] == 1.0  # over the category that has masks


def test_a_map_that_is_not_a_number_leaves_no_nan_behind(bottles: Path) -> None:
    evaluation = scored(bottles, Oracle(lambda truth: np.full_like(truth, np.nan)))
    content = as_json(evaluation)
    assert content["mean"]["image_auroc"] is None
    assert content["passes"][0]["mean"]["image_auroc"] == 0.5
    assert [record["scores"][1] for record in evaluation.scores] == [None] * 7


# --- with a real run, to files


def test_the_mean_of_the_passes_counts_if_asked_for(bottles: Path) -> None:
    """The coarse pass says 0.5 everywhere, the refined one the truth: their mean ranks as the truth does."""
    evaluation = evaluate_dataset(Oracle(), load_dataset(bottles), ScoringConfig(sigma=0, fusion="mean"))
    assert evaluation.passes[0]["bottle"].pixel_auroc == 0.5
    assert evaluation.categories["bottle"].pixel_auroc == 1
    assert evaluation.to_dict()["protocol"]["fusion"] == "mean"
    assert len(evaluation.to_dict()["passes"]) == 2
    assert all(len(record["scores"]) == 3 for record in evaluation.scores)
