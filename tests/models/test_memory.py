"""The memory of good parts: exact search against NumPy, its rows, and the boxes that are read."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clipada.models.backbones import Reading
from clipada.models.crops import Crops, with_aspect
from clipada.models.filter import SCALE
from clipada.models.memory import EPSILON, PatchMemory, nearest_rows, quantize
from clipada.models.memory_head import MemoryHead
from clipada.models.selection import select_rows


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bank(products: int = 2, rows: int = 24, neighbors: int = 4) -> PatchMemory:
    generator = seeded()
    return PatchMemory(
        ["bolt", "nut"][:products],
        rows=quantize(torch.randn(2, products, rows, 16, generator=generator)),
        usual=torch.rand(2, products, rows, generator=generator) + 0.1,
        distance_mean=torch.rand(2, products, generator=generator),
        distance_std=torch.rand(2, products, generator=generator) + 0.5,
        centers=F.normalize(torch.randn(products, 8, generator=generator), dim=-1),
        neighbors=neighbors,
    )


def test_the_nearest_row_is_numpy_s() -> None:
    memory, tokens = bank(), torch.randn(3, 5, 32, generator=seeded(1))
    products = torch.tensor([0, 1, 1])
    found = memory(Reading(tokens, torch.zeros(3, 8)), products)
    for image, product in enumerate(products.tolist()):
        for block in range(2):
            rows = memory.rows[block, product].numpy().astype(np.float64)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            units = tokens[image, :, 16 * block : 16 * (block + 1)].numpy().astype(np.float64)
            units /= np.linalg.norm(units, axis=1, keepdims=True)
            distances = 1 - units @ rows.T
            mean, std = float(memory.distance_mean[block, product]), float(memory.distance_std[block, product])
            expected = (distances.min(axis=1) - mean) / std
            np.testing.assert_allclose(found.surprise[image, :, block, 0], expected, atol=1e-5)
            usual = memory.usual[block, product].numpy()[distances.argmin(axis=1)]
            excess = np.log((distances.min(axis=1) + EPSILON) / (usual + EPSILON))
            np.testing.assert_allclose(found.excess[image, :, block], excess, atol=1e-4)


def test_each_neighbor_is_the_nearest_of_its_part() -> None:
    similarity = torch.rand(2, 3, 12, generator=seeded())
    distances, nearest = nearest_rows(similarity, 4)
    parts = 1 - similarity.reshape(2, 3, 4, 3).amax(-1)
    torch.testing.assert_close(distances, parts.sort(-1).values)
    torch.testing.assert_close(nearest, similarity.argmax(-1))


def test_products_are_found_by_their_centers() -> None:
    memory = bank()
    torch.testing.assert_close(memory.find_products(memory.centers + 0.05), torch.tensor([0, 1]))


def test_quantized_rows_keep_their_direction() -> None:
    rows = torch.randn(200, 384, generator=seeded())
    assert float(F.cosine_similarity(rows, quantize(rows).float()).min()) > 0.9995


@pytest.mark.parametrize("kind", ["sampled", "greedy", "random"])
def test_rows_are_distinct_and_as_many_as_asked(kind: str) -> None:
    tokens = F.normalize(torch.randn(3000, 32, generator=seeded()), dim=1)
    chosen = select_rows(tokens, 200, kind, seeded())  # type: ignore[arg-type]
    assert len(chosen.unique()) == len(chosen)
    assert 190 <= len(chosen) <= 200
    torch.testing.assert_close(chosen, select_rows(tokens, 200, kind, seeded()))  # type: ignore[arg-type]
    assert sorted(select_rows(tokens[:50], 200, kind, seeded()).tolist()) == list(range(50))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["sampled", "greedy"])
def test_chosen_rows_cover_rare_patches_better_than_random_ones(kind: str) -> None:
    """A hundredth of the patches are unlike the rest: a random choice of 40 of 4,000 rarely has one."""
    common = F.normalize(
        torch.randn(1, 32, generator=seeded()) + 0.02 * torch.randn(3960, 32, generator=seeded(1)), dim=1
    )
    rare = F.normalize(torch.randn(1, 32, generator=seeded(2)) + 0.3 * torch.randn(40, 32, generator=seeded(3)), dim=1)
    tokens = torch.cat([common, rare])

    def farthest(how: str) -> float:
        rows = tokens[select_rows(tokens, 40, how, seeded())]  # type: ignore[arg-type]
        return float((1 - rare @ rows.T).amin(1).mean())

    assert farthest(kind) < 0.5 * farthest("random")


@pytest.mark.parametrize("kind", ["sampled", "greedy"])
def test_copies_of_one_patch_do_not_hang_the_choice(kind: str) -> None:
    tokens = torch.ones(500, 16) / 4
    assert len(select_rows(tokens, 100, kind, seeded())) >= 1  # type: ignore[arg-type]


def test_the_scale_keeps_the_order_and_is_calm_below_what_is_usual() -> None:
    """A soft bend at ``calm``; without one (an earlier version), all evidence below ``low`` is 0."""
    crops = Crops(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), (64, 64), (8, 8))
    evidence = torch.linspace(-4, 60, 500)
    head = MemoryHead(bank(1), None, crops, weight=1, share=0.01, low=-2, calm=2, knee=10)
    values = head.to_unit(evidence)
    assert (values.diff() > 0).all()
    assert values[evidence < -2].max() < 0.001
    assert float(head.to_unit(torch.tensor(12.0))) == pytest.approx(0.5, abs=1e-4)
    assert 0.9 < values.max() < 1
    assert torch.isfinite(head.to_unit(torch.tensor([-1e6, 1e6]))).all()
    earlier = MemoryHead(bank(1), None, crops, weight=1, share=0.01, low=2, calm=2, knee=10)
    assert (earlier.to_unit(evidence[evidence < 2]) == 0).all()
    assert float(earlier.to_unit(torch.tensor(7.0))) == 0.25


HALF = torch.tensor([[0.25, 0.25, 0.75, 0.75], [0.0, 0.0, 1.0, 1.0]])
"""Boxes of two products: the middle, and the whole image."""


def test_a_box_is_cut_and_pasted_back() -> None:
    """A coordinate ramp: every cell of the joined map is the one it came from, and outside is the value for it."""
    crops = Crops(HALF, (64, 64), (8, 8))
    assert crops.any
    products, ramp = torch.tensor([0, 1]), torch.linspace(0, 1, 64).expand(2, 3, 64, 64)
    cut = crops.cut(ramp, products)
    torch.testing.assert_close(cut[1], ramp[1], rtol=0, atol=1e-6)
    torch.testing.assert_close(cut[0, 0, 0, 8:-8], torch.linspace(0.25, 0.75, 65)[:-1][8:-8] + 0.0, rtol=0, atol=0.01)
    maps = cut.mean(1).unflatten(1, (32, 2)).unflatten(3, (32, 2)).mean((2, 4))
    joined = crops.joined(maps, None, torch.tensor(7.0), products)
    assert joined.shape == (2, SCALE * 8, SCALE * 8)
    assert (joined[0, :8] == 7).all()
    assert (joined[0, :, 24:] == 7).all()
    expected = (torch.arange(32) + 0.5) / 32
    torch.testing.assert_close(joined[0, 16, 12:20], expected[12:20], rtol=0, atol=0.01)
    torch.testing.assert_close(joined[1], maps[1])
    assert crops.enlarged(joined).shape == (2, 64, 64)
    assert not Crops(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), (64, 48), (8, 6)).any


def test_two_views_are_averaged_and_a_box_has_no_seam() -> None:
    """Outside of its box, a part's view has its own low value, which it comes to over the width of a token."""
    crops = Crops(HALF, (64, 64), (8, 8), whole_grid=(4, 4))
    outside, products = torch.tensor(-1.0), torch.tensor([0, 1])
    joined = crops.joined(torch.ones(2, 32, 32), torch.full((2, 16, 16), 3.0), outside, products)
    assert (joined[0, :8] == 1).all()
    assert (joined[0, 12:20, 12:20] == 2).all()
    assert joined[0, 16].diff().abs().max() <= 0.26
    assert joined[0].T.equal(joined[0])
    assert (joined[1] == 2).all()


def test_a_box_gets_the_aspect_of_the_image_and_stays_inside() -> None:
    assert with_aspect((0.1, 0.3, 0.5, 0.4)) == pytest.approx((0.1, 0.15, 0.5, 0.55))
    assert with_aspect((0.0, 0.5, 0.2, 1.0)) == pytest.approx((0.0, 0.5, 0.5, 1.0))
