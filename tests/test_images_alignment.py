"""Alignment of images: known motions are found, unlike images are refused, maps come back on the image."""

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipada.errors import AlignmentError, ConfigError
from clipada.images.alignment import Alignment, Reference
from clipada.images.placing import (
    into_reference,
    maps_from_reference,
    mask_from_reference,
    mask_into_reference,
    moved_by,
)
from clipada.images.registration import Motion
from clipada.types import Placement
from moved_parts import part, placed

TOLERANCE = 0.5
"""Largest error of a place, in pixels of the compared images of 256."""


def error(found: Placement, true: Placement) -> float:
    """Largest distance of the corners of a box in the middle, for a longer side of 256 pixels."""
    height, width = true.size
    corners = np.array([[x * width, y * height, 1] for x in (0.25, 0.75) for y in (0.25, 0.75)]).T
    apart = found.matrix(true.size) @ corners - true.matrix(true.size) @ corners
    return float(np.linalg.norm(apart, axis=0).max()) * 256 / max(height, width)


def alignment(motion: Motion, image: np.ndarray, least: float = 0.5) -> Alignment:
    return Alignment(motion=motion, references={"part": Reference.of(image, "000.png", least)})


@settings(max_examples=15, deadline=None)
@given(right=st.floats(-48, 48), down=st.floats(-36, 36), seed=st.integers(0, 5))
def test_any_shift_is_found(right: float, down: float, seed: int) -> None:
    image = part(seed)
    true = Placement(size=(240, 320), right=right, down=down, fit=1.0)
    found = alignment("shift", image).placed("part", placed(image, true, seed)).placement
    assert error(found, true) < TOLERANCE
    assert (found.degrees, found.scale) == (0.0, 1.0)


@settings(max_examples=15, deadline=None)
@given(
    right=st.floats(-32, 32),
    down=st.floats(-24, 24),
    degrees=st.floats(-180, 180),
    scale=st.floats(0.95, 1.05),
    seed=st.integers(0, 5),
)
def test_any_pose_is_found(right: float, down: float, degrees: float, scale: float, seed: int) -> None:
    image = part(seed)
    true = Placement(size=(240, 320), right=right, down=down, degrees=degrees, scale=scale, fit=1.0)
    found = alignment("pose", image).placed("part", placed(image, true, seed)).placement
    assert error(found, true) < TOLERANCE
    assert -180 <= found.degrees <= 180
    assert found.scale == pytest.approx(scale, abs=0.01)


def test_other_light_changes_nothing() -> None:
    image = part()
    true = Placement(size=(240, 320), right=20.0, down=-12.0, fit=1.0)
    darker = (placed(image, true) * np.linspace(0.4, 0.8, 320)[:, np.newaxis]).astype(np.uint8)
    assert error(alignment("shift", image).placed("part", darker).placement, true) < TOLERANCE


@pytest.mark.parametrize("motion", ["shift", "pose"])
@pytest.mark.parametrize("other", ["noise", "even", "another part"])
def test_an_image_of_something_else_is_refused(motion: Motion, other: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    images = {"noise": noise, "even": np.full((240, 320, 3), 90, np.uint8), "another part": part(9)}
    with pytest.raises(AlignmentError, match="does not fit the reference of part"):
        alignment(motion, part()).placed("part", images[other])


def test_the_shift_is_in_pixels_of_the_image_at_any_size() -> None:
    image = part(height=480, width=640)
    true = Placement(size=(480, 640), right=31.0, down=-22.0, fit=1.0)
    found = alignment("shift", image).placed("part", placed(image, true)).placement
    assert (found.right, found.down) == pytest.approx((31.0, -22.0), abs=1.0)
    small = np.array(PIL.Image.fromarray(placed(image, true)).resize((320, 240)))
    assert alignment("shift", image).placed("part", small).placement.right == pytest.approx(15.5, abs=0.5)


@pytest.mark.parametrize("degrees", [0.0, 30.0, -140.0])
def test_a_map_comes_back_on_the_defect(degrees: float) -> None:
    image = part()
    true = Placement(size=(240, 320), right=14.0, down=9.0, degrees=degrees, fit=1.0)
    photo = placed(image, true)
    photo[130:138, 150:158] = (255, 0, 0)
    moved, placement = alignment("pose", image).placed("part", photo)
    reddish = moved[..., 0].astype(np.float32) - moved[..., 1]
    square = np.array(PIL.Image.fromarray(reddish).resize((128, 128)))  # as a model's input squashes it
    back = maps_from_reference(square[np.newaxis], placement)[0]
    restored = np.array(PIL.Image.fromarray(back).resize((320, 240)))
    row, column = np.unravel_index(restored.argmax(), restored.shape)
    assert abs(row - 133.5) <= 4
    assert abs(column - 153.5) <= 4


def test_what_the_image_does_not_show_continues_it_and_comes_back_as_nothing() -> None:
    image = part()
    placement = Placement(size=(240, 320), right=40.0, down=0.0, fit=1.0)
    darker = (placed(image, placement) * np.linspace(0.5, 0.8, 240)[:, np.newaxis, np.newaxis]).astype(np.uint8)
    moved = into_reference(darker, placement, image).astype(np.int64)
    np.testing.assert_allclose(moved[:, 284:].mean(axis=(1, 2)), moved[:, 270:278].mean(axis=(1, 2)), atol=6)
    back = maps_from_reference(np.ones((1, 240, 320), np.float32), placement)[0]
    assert not back[:, :39].any()
    assert (back[1:-1, 42:-1] == 1).all()
    assert mask_from_reference(np.ones((240, 320), bool), placement)[:, :41].sum() <= 240


def test_a_mask_moves_with_the_part() -> None:
    image = part()
    true = Placement(size=(240, 320), right=14.0, down=9.0, degrees=30.0, fit=1.0)
    dark = image[..., 0] < 190
    seen = placed(image, true)[..., 0] < 190
    moved = mask_into_reference(seen, true)
    assert (moved == dark).mean() > 0.98


def test_long_images_are_placed_too() -> None:
    image = part(height=60, width=900)
    true = Placement(size=(60, 900), right=50.0, down=3.0, fit=1.0)
    found = alignment("shift", image).placed("part", placed(image, true)).placement
    assert found.right == pytest.approx(50, abs=2)
    assert found.down == pytest.approx(3, abs=2)


def test_large_images_are_moved_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    image = part()
    placement = Placement(size=(240, 320), right=7.3, down=-4.6, degrees=12.0, scale=1.03, fit=1.0)
    whole = moved_by(image, placement.matrix((240, 320)), PIL.Image.Resampling.BICUBIC)
    monkeypatch.setattr("clipada.images.placing.BAND_PIXELS", 320 * 17)
    banded = moved_by(image, placement.matrix((240, 320)), PIL.Image.Resampling.BICUBIC)
    assert np.abs(banded.astype(int) - whole).max() <= 2
    filled = into_reference(image, placement, image)
    monkeypatch.undo()
    assert np.abs(filled.astype(int) - into_reference(image, placement, image)).mean() < 0.5


def test_references_survive_json() -> None:
    before = alignment("pose", part())
    after = Alignment.from_dict(before.to_dict())
    assert after == before
    np.testing.assert_array_equal(after.references["part"].image, part())
    for wrong in (
        None,
        {},
        {"motion": "turn", "references": {}},
        {"motion": "pose", "references": {"a": {"photo": ""}}},
    ):
        with pytest.raises(ConfigError, match="alignment"):
            Alignment.from_dict(wrong)
