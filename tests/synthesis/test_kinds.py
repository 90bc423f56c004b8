"""Kinds of synthetic anomalies: the images stay images, and masks mark the visible change."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation, maximum_filter

from clipada.errors import ImageError
from clipada.synthesis import KINDS, ProceduralTextures, draw_anomaly
from clipada.synthesis.blending import WINDOW, visible_part
from clipada.synthesis.kinds import FEWEST_PIXELS, LARGEST_SHARE
from clipada.synthesis.surface import MARK_LIMIT

kinds = pytest.mark.parametrize("kind", KINDS)


def texture(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """A good image with structure everywhere, which cannot be written to."""
    image = ProceduralTextures().draw(1, size, torch.Generator().manual_seed(seed))[0].numpy()
    image.setflags(write=False)
    return image


def plain(value: float, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    return np.full((3, *size), value, np.float32)


def drawn(kind: str, seed: int, size: tuple[int, int] = (96, 128)):
    """A good image, the image with an anomaly, and the mask."""
    image = texture(size, seed)
    return image, *draw_anomaly(kind, image, texture(size, seed + 1000), np.random.default_rng(seed))


@kinds
@settings(max_examples=8, deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70), seed=st.integers(0, 10**6))
@example(height=32, width=32, seed=0)
@example(height=1, width=1, seed=0)
def test_any_size_gives_an_image_and_its_mask(kind, height, width, seed):
    image, changed, mask = drawn(kind, seed, (height, width))
    assert changed.shape == image.shape
    assert changed.dtype == np.float32
    assert mask.shape == (height, width)
    assert mask.dtype == bool
    assert ((changed >= 0) & (changed <= 1)).all()
    if mask.any():
        assert mask.sum() >= FEWEST_PIXELS
        assert mask.mean() < LARGEST_SHARE
    else:
        np.testing.assert_array_equal(changed, image)


@kinds
def test_the_same_state_draws_the_same_anomaly_whatever_the_global_state(kind):
    torch.manual_seed(1)
    np.random.seed(1)
    _, first, first_mask = drawn(kind, 3)
    torch.manual_seed(2)
    np.random.seed(2)
    _, again, again_mask = drawn(kind, 3)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first_mask, again_mask)


@kinds
def test_every_kind_draws_on_a_textured_image_and_varies(kind):
    masks = [drawn(kind, seed)[2] for seed in range(10)]
    assert sum(mask.any() for mask in masks) >= 8
    assert len({mask.tobytes() for mask in masks}) >= 8


@kinds
def test_masks_mark_the_change(kind):
    near_mask, changed_pixels = 0, 0
    for seed in range(12):
        image, changed, mask = drawn(kind, seed)
        difference = np.abs(changed - image).mean(0)
        assert (maximum_filter(difference, WINDOW)[mask] > 0.01).all()
        visible = difference > MARK_LIMIT
        changed_pixels += visible.sum()
        near_mask += (visible & binary_dilation(mask, iterations=2)).sum()
    assert near_mask > 0.8 * changed_pixels


@kinds
@pytest.mark.parametrize("value", [0, 0.5, 1])
@pytest.mark.filterwarnings("error")
def test_constant_images_are_handled(kind, value):
    for seed in range(4):
        changed, mask = draw_anomaly(kind, plain(value), plain(value), np.random.default_rng(seed))
        assert np.isfinite(changed).all()
        assert ((changed >= 0) & (changed <= 1)).all()
        if kind in ("paste_same", "paste_other", "warp"):
            assert not mask.any()
            np.testing.assert_array_equal(changed, plain(value))


def test_a_dark_mark_on_a_dark_image_is_not_in_the_mask():
    for kind in ("spots", "scratch", "crack"):
        for seed in range(6):
            changed, mask = draw_anomaly(kind, plain(0), plain(0), np.random.default_rng(seed))
            assert (maximum_filter(changed.mean(0), 3)[mask] > MARK_LIMIT).all()


def test_only_pasting_another_image_shows_it():
    for kind in KINDS:
        for seed in range(4):
            image = texture((48, 64))
            one, _ = draw_anomaly(kind, image, plain(0, (48, 64)), np.random.default_rng(seed))
            two, _ = draw_anomaly(kind, image, plain(1, (48, 64)), np.random.default_rng(seed))
            if kind == "paste_other":
                assert not np.array_equal(one, two)
            else:
                np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    "other", [plain(0, (64, 49)), plain(0)[:1], plain(0).astype(np.uint8)], ids=["size", "channels", "type"]
)
def test_images_that_do_not_fit_each_other_are_refused(other):
    with pytest.raises(ImageError, match="cannot draw an anomaly"):
        draw_anomaly("spots", plain(0), other, np.random.default_rng(0))


def test_visible_part_averages_over_its_window():
    changed = plain(0)
    changed[:, 20, 20] = 0.9
    everywhere = np.ones(changed.shape[1:], dtype=bool)
    assert visible_part(plain(0), changed, everywhere, 0.09, window=3).sum() == 9
    assert not visible_part(plain(0), changed, everywhere, 0.09, window=9).any()
