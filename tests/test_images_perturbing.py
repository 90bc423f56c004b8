"""Perturbations of photos move, turn, blur and relight by what they state, against other libraries and by hand."""

from io import BytesIO
from typing import get_args

import numpy as np
import PIL.Image
import PIL.ImageFilter
import pytest
from scipy import ndimage

from clipada.config import PerturbationKind, StressConfig
from clipada.errors import ConfigError, ImageError
from clipada.images.perturbing import perturb


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def flat(value: int, height: int = 40, width: int = 60) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def photo(height: int = 48, width: int = 64) -> np.ndarray:
    """A smooth colored picture."""
    levels = ndimage.gaussian_filter(rng(5).uniform(0, 255, (height, width, 3)), (4, 4, 0))
    low, high = levels.min(), levels.max()
    return (40 + 170 * (levels - low) / (high - low)).astype(np.uint8)


def spot(image: np.ndarray) -> np.ndarray:
    """Center of mass of what is brighter than the background, ``(y, x)``."""
    bright = image[..., 0].astype(float) - np.median(image)
    return np.array(ndimage.center_of_mass(np.clip(bright, 0, None)))


@pytest.mark.parametrize("pixels", [1, 2, 4, 8])
def test_a_shift_moves_a_point_by_so_many_pixels_in_one_of_four_directions(pixels: int) -> None:
    image = flat(20)
    image[20, 30] = 200
    seen = set()
    for seed in range(20):
        moved = perturb(image, "shift", pixels, rng(seed))
        (place,) = np.argwhere(moved[..., 0] == 200)
        seen.add(tuple(place - (20, 30)))
    assert seen == {(pixels, 0), (-pixels, 0), (0, pixels), (0, -pixels)}


@pytest.mark.parametrize("degrees", [1, 5, 30])
def test_a_rotation_turns_about_the_center(degrees: float) -> None:
    image = flat(20, 101, 141)
    image[49:52, 99:102] = 200
    angles = []
    for seed in range(10):
        y, x = spot(perturb(image, "rotate", degrees, rng(seed))) - (50, 70)
        assert np.hypot(y, x) == pytest.approx(30, abs=0.1)
        angles.append(round(np.degrees(np.arctan2(y, x)), 1))
    assert np.abs(angles) == pytest.approx(degrees, abs=0.2)
    assert len(set(np.sign(angles))) == 2


@pytest.mark.parametrize("percent", [2, 10])
def test_a_zoom_grows_or_shrinks_about_the_center(percent: float) -> None:
    image = flat(20, 121, 141)
    image[59:62, 109:112] = 200
    found = {round(float(spot(perturb(image, "zoom", percent, rng(seed)))[1] - 70), 1) for seed in range(10)}
    factor = 1 + percent / 100
    assert sorted(found) == [pytest.approx(40 / factor, abs=0.15), pytest.approx(40 * factor, abs=0.15)]


@pytest.mark.parametrize(("kind", "strength"), [("shift", 8), ("rotate", 20), ("zoom", 20), ("blur", 3)])
def test_beyond_the_borders_there_is_a_mirror_image_and_no_black(kind: PerturbationKind, strength: float) -> None:
    for seed in range(4):
        assert (perturb(flat(180), kind, strength, rng(seed)) == 180).all()
    wide = perturb(photo(7, 90), kind, strength, rng())
    assert wide.shape == (7, 90, 3)
    assert wide.min() >= 25


def test_blur_is_a_gaussian() -> None:
    image = photo()
    for sigma in (0.5, 2):
        by_pillow = np.asarray(PIL.Image.fromarray(image).filter(PIL.ImageFilter.GaussianBlur(sigma)))
        inside = (slice(10, -10), slice(10, -10))
        np.testing.assert_allclose(perturb(image, "blur", sigma, rng())[inside], by_pillow[inside].astype(int), atol=3)
    point = flat(0, 41, 41)
    point[20, 20] = 255
    assert perturb(point, "blur", 2, rng())[20, 20, 0] == round(255 / (2 * np.pi * 4))


def test_noise_has_its_standard_deviation() -> None:
    image = flat(128, 200, 200)
    image[..., 0] += 1  # not gray
    noise = perturb(image, "noise", 5, rng()).astype(float) - image
    assert noise.std() == pytest.approx(0.05 * 255, rel=0.02)
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.05
    gray = perturb(flat(128), "noise", 5, rng())
    assert (gray == gray[..., :1]).all()


def test_jpeg_is_that_of_pillow() -> None:
    image = photo()
    for quality in (90, 40):
        content = BytesIO()
        PIL.Image.fromarray(image).save(content, "JPEG", quality=quality)
        np.testing.assert_array_equal(perturb(image, "jpeg", quality, rng()), np.asarray(PIL.Image.open(content)))
    with pytest.raises(ImageError, match="too large for a JPEG"):
        perturb(np.zeros((1, 65_501, 3), np.uint8), "jpeg", 90, rng())


def test_darker_and_brighter_by_a_share() -> None:
    image = photo()
    np.testing.assert_array_equal(perturb(image, "darker", 40, rng()), np.rint(image * 0.6).astype(np.uint8))
    brighter = perturb(image, "brighter", 40, rng())
    np.testing.assert_array_equal(brighter, np.rint(np.minimum(image * 1.4, 255)).astype(np.uint8))
    assert (perturb(flat(250), "brighter", 40, rng()) == 255).all()


def test_white_balance_changes_red_against_blue_and_no_gray_photo() -> None:
    image = flat(100)
    image[0, 0] = (100, 101, 100)
    seen = {tuple(perturb(image, "white_balance", 10, rng(seed))[5, 5]) for seed in range(10)}
    assert seen == {(110, 100, 90), (90, 100, 110)}
    np.testing.assert_array_equal(perturb(flat(100), "white_balance", 10, rng()), flat(100))


def test_a_gradient_of_light_differs_by_its_strength_between_opposite_ends() -> None:
    for seed in range(5):
        lit = perturb(flat(100, 300, 300), "light_gradient", 40, rng(seed))
        assert (lit.min(), lit.max()) == (80, 120)
        assert lit[150, 150, 0] == 100
        assert lit[0, 0, 0] + lit[-1, -1, 0] == pytest.approx(200, abs=1)


def test_dust_is_so_many_specks() -> None:
    image = flat(220, 1000, 1000)
    for specks in (1, 8):
        dusty = perturb(image, "dust", specks, rng(3))
        regions, count = ndimage.label(dusty[..., 0] < 220)
        assert count == specks
        for region in ndimage.find_objects(regions):
            assert all(4 <= side.stop - side.start <= 20 for side in region)


@pytest.mark.parametrize("kind", get_args(PerturbationKind))
def test_a_perturbation_depends_on_its_generator_alone(kind: PerturbationKind) -> None:
    image = photo()
    before, strength = image.copy(), getattr(StressConfig(), kind)[-1]
    first, again = (perturb(image, kind, strength, rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(image, before)
    assert (first != image).any()
    assert (first.shape, first.dtype) == (image.shape, np.uint8)
    assert perturb(image[:1, :1], kind, strength, rng()).shape == (1, 1, 3)


@pytest.mark.parametrize(
    "strengths", [{"shift": (0.5,)}, {"jpeg": (0,)}, {"darker": (101,)}, {"blur": (-1,)}, {"rotate": (200,)}]
)
def test_a_strength_without_a_meaning_is_refused(strengths: dict[str, tuple[float, ...]]) -> None:
    with pytest.raises(ConfigError, match=next(iter(strengths))):
        StressConfig(**strengths)
