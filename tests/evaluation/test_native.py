"""Maps and masks compared at each image's own size, and saturated overlap of MVTec LOCO AD."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from sklearn.metrics import average_precision_score

from clipada.config import ComparedAt, ScoringConfig
from clipada.data import load_dataset
from clipada.errors import ConfigError, DatasetError
from clipada.evaluation.evaluate import Evaluation, ScoredImage, evaluate_dataset
from clipada.evaluation.metrics import aupro
from clipada.images import restore_map
from clipada.types import Localization
from tiny import save

SIDE, HEIGHT, WIDTH = 16, 50, 70
SCORING = ScoringConfig(sigma=0.0, top_pixels=1)


class Blue:
    """An engine whose map is how blue a pixel is."""

    size = (SIDE, SIDE)
    depth = None
    passes = 1

    def localize(self, images: np.ndarray) -> Localization:
        return Localization(maps=(images[..., 2].astype(np.float32) / 255)[None])


def write_part(root: Path, kind: str, index: int, marked: np.ndarray | None) -> None:
    """Write a noisy part, blue around its defect, and its mask if there is one."""
    image = np.random.default_rng(index).integers(0, 90, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    if marked is not None:
        rows, columns = np.nonzero(marked)
        image[rows.min() - 6 : rows.max() + 6, columns.min() - 4 : columns.max() + 9, 2] += 120
        save(root / "part" / "ground_truth" / kind / f"{index}_mask.png", marked)
    save(root / "part" / "test" / kind / f"{index}.png", image)


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    masks = np.zeros((3, HEIGHT, WIDTH), bool)
    masks[0, 20, 30:33] = True  # a scratch of three pixels: 0.2 of a pixel at the model's size
    masks[1, 10:14, 40:52] = True
    masks[2, 30:38, 12:15] = True
    for index in range(3):
        write_part(tmp_path / "parts", "good", index, None)
        write_part(tmp_path / "parts", "cut", 10 + index, masks[index])
    return tmp_path / "parts"


def scored(root: Path, at: ComparedAt = "native", images: list[ScoredImage] | None = None) -> Evaluation:
    noted = (lambda _: None) if images is None else images.append
    return evaluate_dataset(Blue(), load_dataset(root), SCORING, at=at, on_image=noted)


def test_masks_count_pixel_by_pixel_at_native_size(parts: Path) -> None:
    native: list[ScoredImage] = []
    small: list[ScoredImage] = []
    evaluation, other = scored(parts, images=native), scored(parts, "model", small)
    counted = [int(image.mask.sum()) for image in native if image.mask is not None and image.sample.anomalous]
    assert counted == [3, 48, 24]
    assert [image.mask.shape for image in small if image.mask is not None] == [(SIDE, SIDE)] * 6
    for image, smaller in zip(native, small, strict=True):
        np.testing.assert_array_equal(image.maps[-1], restore_map(smaller.maps[-1], (HEIGHT, WIDTH)))
        assert image.scores == smaller.scores
    assert evaluation.protocol["at"] == "native"
    assert "each image's own size" in evaluation.protocol["masks"]
    assert other.protocol["at"] == "model"
    assert other.categories["part"].pixel_ap != evaluation.categories["part"].pixel_ap


def test_native_metrics_equal_to_those_of_whole_maps(parts: Path) -> None:
    images: list[ScoredImage] = []
    metrics = scored(parts, images=images).categories["part"]
    maps = np.array([image.maps[-1] for image in images])
    masks = np.array([image.mask for image in images])
    assert metrics.pixel_ap == pytest.approx(average_precision_score(masks.ravel(), maps.ravel()), abs=1e-9)
    assert metrics.aupro == pytest.approx(aupro(maps, masks), abs=1e-9)


def test_images_of_several_sizes_count_by_their_pixels(parts: Path) -> None:
    save(parts / "part" / "test" / "good" / "90.png", np.full((200, 30, 3), 60, np.uint8))
    images: list[ScoredImage] = []
    evaluation = scored(parts, images=images)
    assert images[3].maps[-1].shape == (200, 30)
    assert evaluation.categories["part"].n_normal == 4


def test_an_unknown_size_is_refused(parts: Path) -> None:
    with pytest.raises(ConfigError, match="cannot compare at 'nativ'"):
        scored(parts, "nativ")  # type: ignore[arg-type]


# --- saturated overlap


def put_saturation(root: Path, content: Any) -> None:
    (root / "part" / "defects_config.json").write_text(content if isinstance(content, str) else json.dumps(content))


def entry(value: int, threshold: float, relative: bool) -> dict[str, Any]:
    return {
        "defect_name": f"kind {value}",
        "pixel_value": value,
        "saturation_threshold": threshold,
        "relative_saturation": relative,
    }


@pytest.fixture
def loco(tmp_path: Path) -> Path:
    """Good parts, a logical anomaly with two masks, of which a few pixels are enough, and a structural one."""
    root = tmp_path / "loco"
    masks = np.zeros((3, HEIGHT, WIDTH), np.uint8)
    masks[0, 10:20, 20:40] = 255
    masks[1, 30:40, 20:40] = 254
    masks[2, 20:26, 40:50] = 253
    for index in range(3):
        write_part(root, "good", index, None)
    write_part(root, "logical_anomalies", 0, masks[0] > 0)
    write_part(root, "structural_anomalies", 0, masks[2] > 0)
    for path in (root / "part" / "ground_truth").rglob("*_mask.png"):
        path.unlink()
    for index, (kind, number) in enumerate((("logical", 0), ("logical", 1), ("structural", 2))):
        folder = root / "part" / "ground_truth" / f"{kind}_anomalies" / "0"
        folder.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(masks[number]).save(folder / f"00{index}.png")
    put_saturation(root, [entry(255, 20, relative=False), entry(254, 20, relative=False), entry(253, 1, relative=True)])
    return root


def test_spro_is_reported_by_kind_and_only_with_saturation_thresholds(loco: Path) -> None:
    images: list[ScoredImage] = []
    evaluation = scored(loco, images=images)
    kinds = evaluation.by_kind["part"]
    assert list(kinds) == ["logical_anomalies", "structural_anomalies"]
    assert [round(region.share, 3) for image in images for region in image.regions] == [0.1, 0.1, 1.0]
    known = [kind.spro for kind in kinds.values() if kind.spro is not None]
    assert evaluation.categories["part"].spro == pytest.approx(np.mean(known))
    assert kinds["logical_anomalies"].image_auroc == kinds["structural_anomalies"].image_auroc == 1
    content = json.loads(json.dumps(evaluation.to_dict()))
    assert content["by_kind"]["part"]["logical_anomalies"]["spro"] == kinds["logical_anomalies"].spro
    assert content["mean"]["spro"] == evaluation.categories["part"].spro
    assert content["protocol"]["spro_fpr_limit"] == 0.05
    (loco / "part" / "defects_config.json").unlink()
    content = scored(loco).to_dict()
    assert "by_kind" not in content
    assert "spro" not in content["mean"]


def test_less_has_to_be_found_of_a_saturated_region(loco: Path) -> None:
    few = scored(loco).by_kind["part"]["logical_anomalies"].spro
    put_saturation(loco, [entry(value, 1, relative=True) for value in (253, 254, 255)])
    whole = scored(loco).by_kind["part"]["logical_anomalies"].spro
    assert few is not None
    assert whole is not None
    assert few > whole


def test_a_mask_of_an_unknown_value_is_left_out_and_named(loco: Path) -> None:
    put_saturation(loco, [entry(255, 20, relative=False), entry(254, 20, relative=False)])
    (failure,) = scored(loco).failures
    assert "names no kind of defect" in str(failure.error)
    assert "254, 255\n  got: 0, 253" in str(failure.error)


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ("{", "Expecting"),
        ([{"pixel_value": 3}], "no 'saturation_threshold'"),
        ([entry(255, 0, True)], "a threshold of 0"),
    ],
)
def test_saturation_thresholds_that_cannot_be_read_are_refused(loco: Path, content: Any, got: str) -> None:
    put_saturation(loco, content)
    with pytest.raises(DatasetError, match=f"(?s)cannot use the saturation thresholds.*got: {got}"):
        scored(loco)
