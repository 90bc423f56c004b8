"""The input check refuses frames that show no part, names the reason, and keeps its rate on good parts and defects."""

import numpy as np
import pytest
from scipy import ndimage, stats

from clipada.calibration.image_statistics import image_statistics
from clipada.calibration.input_check import TESTS, InputCheck, ProductCheck, ProductInputs, distances
from clipada.config import InputCheckConfig
from clipada.errors import ConfigError
from frames import broken_frames


def part(seed: int, level: int = 140, pattern: float = 4.0) -> np.ndarray:
    """A part with its own texture and light."""
    rng, fixed = np.random.default_rng(seed), np.random.default_rng(level)
    shape = 60 * ndimage.gaussian_filter(fixed.normal(size=(64, 64, 1)), (pattern, pattern, 0)) * pattern
    noise = rng.normal(0, 3, (64, 64, 3))
    return (level * rng.normal(1, 0.02) + shape + noise).clip(0, 255).astype(np.uint8)


def toy_descriptor(image: np.ndarray) -> np.ndarray:
    """Stand-in for the backbone: a coarse thumbnail of unit length."""
    small = image.astype(np.float32).reshape(8, 8, 8, 8, 3).mean((1, 3)).ravel() - 100
    return small / max(np.linalg.norm(small), 1e-6)


def inputs(images: list[np.ndarray], *, described: bool = True) -> ProductInputs:
    blank = [np.full((64, 64, 3), level, np.uint8) for level in (0, 128, 255)]
    return ProductInputs(
        statistics=np.stack([image_statistics(image) for image in images]),
        descriptors=np.stack([toy_descriptor(image) for image in images]) if described else None,
        blank=np.stack([toy_descriptor(image) for image in blank]) if described else None,
    )


@pytest.fixture(scope="module")
def check() -> InputCheck:
    plate, disc = [part(seed) for seed in range(40)], [part(seed, 60) for seed in range(40)]
    return InputCheck({"plate": inputs(plate), "disc": inputs(disc)})


def reason(check: InputCheck, image: np.ndarray, product: str | None = "plate") -> str | None:
    return check.reason(image_statistics(image), toy_descriptor(image), product)


@pytest.mark.parametrize("name", broken_frames(part(100), part(101, 60)))
def test_no_broken_frame_is_inspectable(check: InputCheck, name: str) -> None:
    assert reason(check, broken_frames(part(100), part(101, 60))[name]) is not None


def test_good_parts_and_parts_with_defects_are_inspectable(check: InputCheck) -> None:
    for seed in range(200, 300):
        image = part(seed)
        assert reason(check, image) is None
        image[10:26, 10:26] = (230, 30, 30)  # a sixteenth of the image
        assert check.reason(image_statistics(image), None, "plate") is None


def test_a_quarter_of_the_distance_to_an_empty_image_is_allowed() -> None:
    """However alike the training images are: a defect moves the descriptor too."""
    axis = np.eye(3, dtype=np.float32)
    values = np.repeat(image_statistics(part(0))[np.newaxis], 4, 0)
    one = ProductCheck(
        ProductInputs(statistics=values, descriptors=np.repeat(axis[:1], 4, 0), blank=np.repeat(axis[1:2], 3, 0)), 0.001
    )
    assert one.farthest == pytest.approx(0.25)
    for distance, allowed in ((0.24, True), (0.26, False)):
        moved = np.array([1 - distance, np.sqrt(1 - (1 - distance) ** 2), 0], np.float32)
        assert (one.compare(values[0], moved).reason is None) == allowed


def test_reasons_name_value_and_training_images(check: InputCheck) -> None:
    frames = broken_frames(part(100), part(101, 60))
    assert reason(check, frames["white"]) == "overexposed: white pixels 100 %, training images at most 0 %"
    assert reason(check, frames["lamp off"]) == "dark: black pixels 100 %, training images at most 0 %"
    blurred = np.asarray(ndimage.gaussian_filter(part(100), (3, 3, 0)))
    assert str(reason(check, blurred)).startswith("out of focus: contrast of edges ")


def test_another_product_of_the_run_is_named(check: InputCheck) -> None:
    found = reason(check, part(100, 60), "plate")
    assert found == "another product: like the training images of disc, not of plate"
    assert reason(check, part(100, 60), "disc") is None


@pytest.mark.parametrize("product", [None, "a folder that is no product"])
def test_without_a_product_any_one_suffices(check: InputCheck, product: str | None) -> None:
    assert reason(check, part(100), product) is None
    assert reason(check, part(100, 60), product) is None
    assert reason(check, np.zeros((64, 64, 3), np.uint8), product) is not None


def test_an_image_like_no_training_image_is_refused_by_its_descriptor_alone() -> None:
    known = inputs([part(seed) for seed in range(40)])
    own = image_statistics(part(50))
    turned = -toy_descriptor(part(50))
    found = ProductCheck(known, 0.001).compare(own, turned).reason
    assert str(found).startswith("unlike every training image: distance ")
    assert ProductCheck(known, 0.001).compare(own, None).reason is None  # an export without descriptors
    assert ProductCheck(inputs([part(0)]), 0.001).compare(own, turned).reason is None  # nothing to compare with


def test_limits_are_the_farthest_of_training_images_student_and_slack() -> None:
    values = np.stack([image_statistics(part(seed)) for seed in range(30)])
    spread = values.copy()
    spread[:, 2] = np.random.default_rng(0).normal(7, 0.5, 30)  # brightness varies more than its slack
    bounds = ProductCheck(ProductInputs(statistics=spread), 0.01).bounds[2]
    own = stats.t.ppf(1 - 0.01 / TESTS, 29) * spread[:, 2].std(ddof=1) * np.sqrt(1 + 1 / 30)
    assert bounds[2] == pytest.approx(spread[:, 2].mean() + own)
    same = np.repeat(values[:1], 30, 0)
    low, median, high = ProductCheck(ProductInputs(statistics=same), 0.01).bounds[2]
    assert (high - median, median - low) == pytest.approx((0.5, 0.5))
    far = spread.copy()
    far[0, 2] = 40
    assert ProductCheck(ProductInputs(statistics=far), 0.5).bounds[2][2] == 40


def test_a_lower_rate_refuses_less() -> None:
    rng = np.random.default_rng(1)
    known = np.tile(image_statistics(part(0)), (50, 1)) + rng.normal(0, 1, (50, 8)) * (np.arange(8) == 2)
    fresh = np.tile(image_statistics(part(0)), (4000, 1)) + rng.normal(0, 1, (4000, 8)) * (np.arange(8) == 2)
    shares = []
    for rate in (0.4, 0.01):
        one = ProductCheck(ProductInputs(statistics=known), rate)
        shares.append(np.mean([one.compare(values, None).reason is not None for values in fresh]))
    assert shares[1] <= shares[0] <= 0.4
    assert shares[1] <= 0.01


def test_distances_are_cosines_to_the_nearest_other_image() -> None:
    vectors = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    brute = [min(1 - float(one @ other) for j, other in enumerate(vectors) if j != i) for i, one in enumerate(vectors)]
    assert distances(vectors, vectors, leave_one_out=True) == pytest.approx(brute, abs=1e-6)
    assert distances(vectors, vectors) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_impossible_rates_are_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match=r"input_check\.rate"):
        InputCheckConfig(rate=rate)
