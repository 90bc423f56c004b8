"""PatchCore's properties: the core-set covers, known tokens have distance 0, the image score is equation 7."""

from itertools import combinations

import pytest
import torch
from scipy.spatial import KDTree

from clipada.config import MemoryBankConfig
from clipada.data import Dataset, read_batches
from clipada.models.backbones import FrozenClip
from clipada.models.coreset import greedy_coreset, nearest_neighbors, project
from clipada.research.baselines import FitContext, fit_memory_bank
from clipada.research.baselines.memory_bank import MemoryBank, local_tokens, reweighted


def radius(features: torch.Tensor, chosen: torch.Tensor) -> float:
    """The largest distance of a feature to the nearest chosen one."""
    return float(torch.cdist(features, features[chosen]).amin(dim=1).max())


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_core_set_covers_at_most_twice_as_far_as_the_best_one(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(10, 2, generator=generator) * torch.tensor([3.0, 1.0])
    best = min(radius(features, torch.tensor(some)) for some in combinations(range(10), count))
    assert radius(features, greedy_coreset(features, count, generator)) <= 2 * best + 1e-5


@pytest.mark.parametrize(("pool", "at_once"), [(3, 7), (50, 400), (1000, 10**6)])
def test_the_core_set_is_the_greedy_one_for_any_pool_size(
    pool: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the definition, with all distances in memory."""
    monkeypatch.setattr("clipada.models.coreset.POOL", pool)
    monkeypatch.setattr("clipada.models.coreset.DISTANCES_AT_ONCE", at_once)
    features = torch.randn(300, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    chosen = greedy_coreset(features, 200, torch.Generator().manual_seed(1))
    distances = torch.cdist(features, features)
    expected = [int(chosen[0])]
    while len(expected) < 200:
        expected.append(int(distances[:, expected].amin(dim=1).argmax()))
    assert chosen.tolist() == expected


def test_the_core_set_takes_nothing_twice_even_among_equals() -> None:
    features = torch.ones(6, 3)
    features[3:] += 1
    chosen = greedy_coreset(features, 6, torch.Generator().manual_seed(0))
    assert sorted(chosen.tolist()) == list(range(6))
    assert (chosen[0] < 3) != (chosen[1] < 3)


def test_a_projection_keeps_distances_nearly_as_they_are() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(60, 500, generator=generator)
    ratios = torch.pdist(project(features, 128, generator)) / torch.pdist(features)
    assert float(ratios.mean()) == pytest.approx(1, abs=0.03)
    assert float(ratios.min()) > 0.7
    assert project(features, 500, generator) is features


def test_neighbors_are_those_of_a_tree_at_any_chunk_size(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    queries, bank = torch.randn(50, 4, generator=generator), torch.randn(30, 4, generator=generator)
    monkeypatch.setattr("clipada.models.coreset.DISTANCES_AT_ONCE", 70)
    monkeypatch.setattr("clipada.models.coreset.BANK_AT_ONCE", 7)
    distances, positions = nearest_neighbors(queries, bank)
    expected, places = KDTree(bank.numpy()).query(queries.numpy())
    torch.testing.assert_close(distances.double(), torch.from_numpy(expected), rtol=0, atol=1e-5)
    assert positions.tolist() == places.tolist()


def test_images_that_the_whole_bank_was_made_of_have_distance_0(context: FitContext, two_products: Dataset) -> None:
    engine = fit_memory_bank(context, MemoryBankConfig(share=1.0)).with_paper_scores()
    images = next(iter(read_batches([sample.path for sample in two_products.train], (32, 32), 8, 1))).images
    maps = engine.localize(images).maps
    assert float(maps.max()) < 1e-4  # a batch of another size rounds differently
    scratched = next(iter(read_batches([s.path for s in two_products.test if s.anomalous], (32, 32), 8, 1))).images
    assert (engine.localize(scratched).maps.max(axis=(2, 3)) > 0.05).all()


def test_the_bank_keeps_the_share_asked_for_of_as_many_candidates_of_each_image(context: FitContext) -> None:
    settings = MemoryBankConfig(share=0.25, candidates=96, reweighting=3)  # 12 images of 16 tokens: 8 of each
    detector = fit_memory_bank(context, settings).detector
    assert isinstance(detector, MemoryBank)
    assert detector.bank.shape == (24, 32)


def test_a_token_is_the_mean_of_those_around_it_that_there_are(clip: FrozenClip) -> None:
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    tokens = clip(clip.normalize(images)).view(4, 4, 32)
    averaged = local_tokens(clip, images, 3)[0]
    torch.testing.assert_close(averaged[1, 2], tokens[:3, 1:4].mean(dim=(0, 1)), rtol=0, atol=1e-5)
    torch.testing.assert_close(averaged[0, 0], tokens[:2, :2].mean(dim=(0, 1)), rtol=0, atol=1e-5)


def test_the_image_score_is_equation_7_by_hand() -> None:
    """The nearest token of q = 0 is at 3; its two nearest are itself and the one at 5; the one at 50 does not count."""
    bank = torch.tensor([[3.0], [5.0], [50.0]])
    score = reweighted(torch.tensor([[0.0]]), torch.tensor([0]), bank, 2)
    weight = 1 - torch.tensor(3.0).exp() / (torch.tensor(3.0).exp() + torch.tensor(5.0).exp())
    torch.testing.assert_close(score, 3 * weight[None])


def test_the_image_score_stays_finite_at_distances_of_hundreds() -> None:
    bank = torch.tensor([[300.0], [900.0]])
    score = reweighted(torch.tensor([[0.0]]), torch.tensor([0]), bank, 9)
    assert score.tolist() == [300.0]


def test_an_image_scores_less_where_the_bank_is_dense(clip: FrozenClip) -> None:
    """Of two tokens equally far from the bank, the one near a rare bank token scores higher."""
    rare = torch.tensor([[0.0, 0.0], [40.0, 0.0], [41.0, 0.0]])
    dense = torch.tensor([[0.0, 0.0], [0.1, 0.0], [0.0, 0.1]])
    query, nearest = torch.tensor([[-3.0, 0.0]]), torch.tensor([0])
    assert reweighted(query, nearest, rare, 3) > reweighted(query, nearest, dense, 3)
