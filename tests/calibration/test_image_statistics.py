"""Statistics of an image are what SciPy and Pillow compute, and react to their own fault only."""

import numpy as np
import PIL.Image
import PIL.ImageStat
import pytest
from scipy import ndimage

from clipada.calibration.image_statistics import DARK, FLAT, QUIET, SMOOTH, STATISTICS, image_statistics

NAMES = ["black", "white", "brightness", "contrast", "sharpness", "noise", "red", "blue"]


def values(image: np.ndarray) -> dict[str, float]:
    return dict(zip(NAMES, image_statistics(image).tolist(), strict=True))


def photo(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    blocks = rng.choice([70, 130, 190], (10, 10)).repeat(6, 0).repeat(8, 1)[..., np.newaxis]
    return (blocks + rng.normal(0, 3, (60, 80, 3))).clip(20, 235).astype(np.uint8)


def test_they_are_those_of_other_libraries() -> None:
    image = photo()
    gray = image.astype(float).mean(-1)
    edges = np.abs(ndimage.laplace(gray))[1:-1, 1:-1]
    means = PIL.ImageStat.Stat(PIL.Image.fromarray(image)).mean
    found = values(image)
    assert len(NAMES) == len(STATISTICS)
    assert 2 ** found["brightness"] - DARK == pytest.approx(gray.mean(), rel=1e-5)
    assert 2 ** found["contrast"] - FLAT == pytest.approx(gray.std(), rel=1e-4)
    assert 2 ** found["sharpness"] - SMOOTH == pytest.approx(np.sqrt((edges**2).mean()), rel=1e-4)
    assert 2 ** found["noise"] - QUIET == pytest.approx(np.median(edges), abs=0.34)
    assert 2 ** found["red"] == pytest.approx((means[0] + DARK) / (means[1] + DARK))
    assert 2 ** found["blue"] == pytest.approx((means[2] + DARK) / (means[1] + DARK))


def test_shares_count_pixels_that_are_black_or_white_in_all_channels() -> None:
    image = np.full((10, 10, 3), 100, np.uint8)
    image[:2] = 0
    image[5:] = 255
    image[9] = (255, 255, 0)
    found = values(image)
    assert (found["black"], found["white"]) == (0.2, 0.4)


@pytest.mark.parametrize(("fault", "name"), [("blurred", "sharpness"), ("noisy", "noise"), ("red", "red")])
def test_a_fault_moves_its_statistic_beyond_the_slack(fault: str, name: str) -> None:
    good = photo()
    bad = {
        "blurred": lambda: ndimage.gaussian_filter(good, (3, 3, 0)),
        "noisy": lambda: (good + np.random.default_rng(0).normal(0, 30, good.shape)).clip(0, 255).astype(np.uint8),
        "red": lambda: (good * np.array([1.0, 0.6, 0.6])).astype(np.uint8),
    }[fault]()
    place = NAMES.index(name)
    assert abs(image_statistics(bad)[place] - image_statistics(good)[place]) > STATISTICS[place].slack


def test_a_flat_image_of_any_level_has_finite_values() -> None:
    for level in (0, 1, 128, 255):
        assert np.isfinite(image_statistics(np.full((32, 48, 3), level, np.uint8))).all()
