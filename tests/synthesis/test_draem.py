"""The recipe: what is changed, where, how often and by how much."""

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipada.config import SynthesisConfig
from clipada.errors import ImageError
from clipada.synthesis import AnomalySynthesizer, ProceduralTextures, draem
from clipada.synthesis.draem import blend, draw_lattices, draw_masks, draw_shares, rotate_some
from clipada.synthesis.patches import VISIBLE_DIFFERENCE, moved_images, visible


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int, size: tuple[int, int] = (64, 64), seed: int = 9) -> torch.Tensor:
    """Images with structure everywhere."""
    return ProceduralTextures().draw(count, size, seeded(seed))


@dataclass
class White:
    """A source of white textures that counts them."""

    drawn: int = 0

    def draw(self, count: int, size: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
        self.drawn += count
        return torch.ones(count, 3, *size, device=generator.device)


def synthesizer(textures=None, **settings) -> AnomalySynthesizer:
    return AnomalySynthesizer(SynthesisConfig(**settings), textures or ProceduralTextures())


@settings(max_examples=12, deadline=None)
@given(batch=st.integers(1, 6), height=st.integers(8, 70), width=st.integers(8, 70), seed=st.integers(0, 10**6))
def test_only_the_mask_is_changed_at_any_size(batch, height, width, seed):
    images = pictures(batch, (height, width))
    before = images.clone()
    changed, masks = synthesizer(rotate_probability=0, anomaly_probability=1)(images, seeded(seed))
    assert torch.equal(images, before)
    assert changed.shape == images.shape
    assert masks.shape == (batch, 1, height, width)
    assert masks.dtype == torch.float32
    assert set(masks.unique().tolist()) <= {0.0, 1.0}
    assert ((changed >= 0) & (changed <= 1)).all()
    outside = (masks == 0).expand_as(images)
    assert torch.equal(changed[outside], images[outside])


@pytest.mark.parametrize("patch_share", [0.0, 1.0])
def test_inside_the_mask_the_image_differs(patch_share):
    images = pictures(32)
    changed, masks = synthesizer(rotate_probability=0, anomaly_probability=1, patch_share=patch_share)(images, seeded())
    inside = (masks > 0).expand_as(images)
    assert masks.mean() > 0.02
    assert (changed - images).abs()[inside].mean() > 0.1


def test_outside_the_mask_is_the_image_as_rotated():
    settings = SynthesisConfig(rotate_probability=1, anomaly_probability=1)
    images = pictures(8)
    rotated = rotate_some(images, settings, seeded(3))
    changed, masks = AnomalySynthesizer(settings, ProceduralTextures())(images, seeded(3))
    outside = (masks == 0).expand_as(images)
    assert torch.equal(changed[outside], rotated[outside])
    assert not torch.equal(rotated, images)


def test_same_seed_same_batch():
    images = pictures(8)
    first, again, other = (synthesizer()(images, seeded(s)) for s in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def test_a_copy_sent_to_a_worker_draws_the_same():
    images = pictures(4)
    original = synthesizer()
    sent = pickle.loads(pickle.dumps(original))
    assert torch.equal(sent(images, seeded())[0], original(images, seeded())[0])


def within_five_deviations(hits: int, draws: int, probability: float) -> bool:
    return abs(hits - draws * probability) <= 5 * math.sqrt(draws * probability * (1 - probability))


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_images_are_rotated_as_often_as_asked(probability):
    images = torch.ones(3000, 3, 8, 8)
    rotated = rotate_some(images, SynthesisConfig(rotate_probability=probability), seeded())
    hits = int((rotated != 1).flatten(1).any(dim=1).sum())
    assert within_five_deviations(hits, 3000, probability)


def angles_about_center(images: torch.Tensor) -> torch.Tensor:
    """Degrees from the center's right to the center of mass of each ``(65, 65)``."""
    place = torch.arange(65.0) - 32
    return torch.atan2((images.sum(2) * place).sum(1), (images.sum(1) * place).sum(1)).rad2deg()


def test_rotations_span_their_range():
    images = torch.zeros(400, 3, 65, 65)
    images[:, :, 32, 48] = 1  # a dot to the right of the center
    angle = angles_about_center(rotate_some(images, SynthesisConfig(rotate_probability=1), seeded())[:, 0])
    assert -90.5 < angle.min() < -85
    assert 85 < angle.max() < 90.5


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_anomalies_are_drawn_as_often_as_asked(probability):
    # At a threshold below the noise's minimum, every mask drawn shows; the corners that rotation empties do too.
    settings = SynthesisConfig(anomaly_probability=probability, noise_threshold=-0.99)
    hits = int(draw_masks(2000, (8, 8), settings, seeded()).flatten(1).any(dim=1).sum())
    assert within_five_deviations(hits, 2000, probability)


def test_lattices_are_powers_of_two_drawn_per_axis():
    lattices = draw_lattices(7200, SynthesisConfig(), seeded())
    exponents = lattices.float().log2().long()
    assert torch.equal(2**exponents, lattices)
    joint = (exponents[:, 0] * 6 + exponents[:, 1]).bincount(minlength=36) / 7200
    assert (joint - 1 / 36).abs().max() < 5 * math.sqrt(1 / 36 / 7200)
    assert len(joint) == 36


def test_masks_cover_less_at_a_higher_threshold():
    low, high = (
        draw_masks(200, (64, 64), SynthesisConfig(anomaly_probability=1, noise_threshold=t), seeded())
        for t in (0.3, 0.5)
    )
    assert (high <= low).all()
    assert high.mean() < 0.6 * low.mean()


def test_noise_is_rotated_by_up_to_a_quarter_turn_and_nothing_lies_outside(monkeypatch):
    certain = SynthesisConfig(anomaly_probability=1)
    monkeypatch.setattr(draem, "perlin_noise", lambda lattices, size, _: torch.ones(len(lattices), *size))
    covered = draw_masks(200, (65, 65), certain, seeded()).mean((1, 2, 3))
    assert covered.min().item() == pytest.approx(2 * math.sqrt(2) - 2, abs=0.02)  # an octagon, at 45 degrees
    assert covered.max() > 0.97

    dot = torch.zeros(65, 65)
    dot[31:34, 47:50] = 1
    monkeypatch.setattr(draem, "perlin_noise", lambda lattices, size, _: dot.expand(len(lattices), *size))
    angle = angles_about_center(draw_masks(400, (65, 65), certain, seeded())[:, 0])
    assert -91 < angle.min() < -85
    assert 85 < angle.max() < 91


def test_the_images_share_is_uniform_below_the_limit():
    share = draw_shares(4000, 0.8, seeded())
    torch.testing.assert_close(blend(torch.ones(3, 1, 1), torch.zeros(3, 1, 1), share[7]), share[7].expand(3, 1, 1))
    assert 0 <= share.min() < 0.01
    assert 0.79 < share.max() < 0.8
    assert share.mean().item() == pytest.approx(0.4, abs=5 * 0.8 / math.sqrt(12 * 4000))


def test_masked_pixels_lie_between_image_and_texture():
    images = torch.full((64, 3, 32, 32), 0.25)
    settings = {"rotate_probability": 0, "anomaly_probability": 1, "patch_share": 0, "augmenters": 0}
    changed, masks = synthesizer(White(), **settings)(images, seeded())
    values = changed[(masks > 0).expand_as(changed)]
    assert values.min() > 0.25 + 0.2 * 0.75 - 1e-6  # beta < 0.8
    assert values.max() <= 1
    for image, mask in zip(changed, masks, strict=True):
        inside = image[:, mask[0] > 0]
        assert inside.numel() == 0 or inside.max() - inside.min() < 1e-6


def test_textures_are_drawn_for_anomalies_only():
    textures = White()
    _, masks = synthesizer(textures, patch_share=0)(pictures(64), seeded())
    assert textures.drawn == masks.flatten(1).any(dim=1).sum()
    assert 10 < textures.drawn < 45


def test_the_share_of_patches_is_as_asked_and_none_with_a_folder_of_textures():
    images = pictures(16, (8, 8))
    for folder, share in ((None, 0.25), ("textures", 0.0)):
        source = AnomalySynthesizer(SynthesisConfig(patch_share=0.25, augmenters=0, textures=folder), White())
        positions = torch.arange(1000) % 16
        _, from_batch = source.draw_textures(positions, images, seeded())
        assert within_five_deviations(sum(from_batch), 1000, share)


def test_patches_come_from_another_image():
    flat = torch.linspace(0, 1, 8)[:, None, None, None].expand(8, 3, 12, 12)
    for seed in range(20):
        moved = moved_images(flat, torch.arange(8), seeded(seed))
        assert ((moved - flat).abs().amax((1, 2, 3)) > 0.1).all()
        source = moved[:, 0, 6, 6] * 7
        torch.testing.assert_close(source, source.round(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [(64, 64), (48, 80)])
def test_patches_never_align_even_with_the_only_image_of_a_batch(size):
    height, width = size
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    place = torch.stack((y, x, torch.zeros_like(x)))[None] / 2 + 0.5
    center = (slice(None), slice(0, 2), height // 2, width // 2)
    shifts = []
    for seed in range(200):
        moved = moved_images(place, torch.tensor([0]), seeded(seed))
        shifts.append((moved[center] - place[center]).abs().amax().item())
    # An eighth of a side at the least: of the target's range of values, which is 1 over a whole side.
    assert min(shifts) > 0.125 - 2 / min(size)


def test_turning_keeps_shapes_on_images_that_are_not_square():
    disc = torch.zeros(1, 3, 60, 120)
    y, x = torch.meshgrid(torch.arange(60.0), torch.arange(120.0), indexing="ij")
    disc[:, :, (y - 30) ** 2 + (x - 60) ** 2 < 100] = 1
    for seed in range(30):
        moved = moved_images(disc, torch.tensor([0]), seeded(seed))[0, 0] > 0.5
        rows, columns = (moved.any(dim=axis).nonzero().flatten() for axis in (1, 0))
        inner = len(rows) and rows[0] > 0 and rows[-1] < 59 and columns[0] > 0 and columns[-1] < 119
        if inner and moved.sum() < 0.9 * len(rows) * len(columns) and rows.diff().eq(1).all():
            assert abs(len(rows) - len(columns)) <= 2


def test_background_over_the_same_background_is_no_anomaly():
    images = torch.full((6, 3, 64, 64), 0.7)
    changed, masks = synthesizer(anomaly_probability=1, patch_share=1, rotate_probability=0)(images, seeded())
    assert masks.sum() == 0
    assert torch.equal(changed, images)


def test_visible_is_where_the_mean_change_nearby_is():
    images, changed = torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)
    changed[:, :, :, 32:] = 1.01 * VISIBLE_DIFFERENCE
    seen = visible(images, changed)[0, 0]
    assert seen[:, 40:].all()
    assert not seen[:, :24].any()


@pytest.mark.parametrize(
    "images",
    [torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(2, 1, 8, 8), torch.zeros(3, 8, 8)],
)
def test_other_inputs_are_refused(images):
    with pytest.raises(ImageError, match="cannot draw anomalies"):
        synthesizer()(images, seeded())
