"""Directions to known defects: Fisher's discriminant, levels of other good images, and the weight that is chosen."""

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score

from clipada.models.known_defects import KnownDefects, unit_tokens
from clipada.training import directions
from clipada.training.defect_weight import ALLOWED_LOSS, WEIGHTS, beaten, chosen
from clipada.training.directions import GROUPS, NormalPatches
from clipada.training.known_defects import defective


def tokens(images: int, patches: int = 64, width: int = 12, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=generator)
    return torch.randn(images, patches, width, generator=generator) @ mixing + 3


def test_the_direction_is_fishers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directions, "RIDGE", 1e-9)
    good, defects = tokens(20), tokens(1, 40, seed=1)[0] + 2
    found = NormalPatches(good, 2).toward(defects).vector.double().numpy()
    flat = good.flatten(0, 1).double().numpy()
    both = np.concatenate([flat, flat + (defects.double().numpy().mean(0) - flat.mean(0))])
    witness = LinearDiscriminantAnalysis(solver="lsqr").fit(both, np.repeat([0, 1], len(flat))).coef_[0]
    cosine = found @ witness / np.linalg.norm(found) / np.linalg.norm(witness)
    assert cosine == pytest.approx(1, abs=1e-6)
    assert (flat @ found).std() == pytest.approx(1, abs=1e-3)


def test_nine_of_ten_good_images_gain_nothing_and_new_ones_hardly_more() -> None:
    good, defects = tokens(100), tokens(1, 40, seed=1)[0] + 2
    direction = NormalPatches(good, 1).toward(defects)
    assert (direction.good.amax(dim=1) > 0).float().mean() == pytest.approx(0.1, abs=0.01)
    mixing = torch.randn(12, 12, generator=torch.Generator().manual_seed(0))
    fresh = torch.randn(300, 64, 12, generator=torch.Generator().manual_seed(9)) @ mixing + 3
    assert (direction.gain(fresh).amax(dim=1) > 0).float().mean() < 0.2
    assert (direction.gain(defects) >= 0).all()


def test_what_a_good_image_reaches_is_measured_without_its_group() -> None:
    good, defects = tokens(10, patches=6), tokens(1, 5, seed=1)[0]
    normal = NormalPatches(good, 1)
    first = normal.groups == 0
    assert len(normal.without) == GROUPS
    changed = torch.where(first[:, None, None], 100 * good, good)
    again = NormalPatches(changed, 1)
    torch.testing.assert_close(again.without[0][0], normal.without[0][0], atol=1e-3, rtol=1e-3)
    assert not torch.allclose(again.whole[0], normal.whole[0], atol=1)
    assert torch.isfinite(again.toward(defects).vector).all()


def test_a_patch_gains_what_its_best_direction_gives_and_never_loses() -> None:
    patches = tokens(2, 9, 8)
    vectors = torch.randn(2, 8, generator=torch.Generator().manual_seed(2))
    known = KnownDefects.of_products(["a", "b"], {"b": (vectors, torch.tensor([0.1, -0.2]))}, 8, 2)
    gains = known(patches, torch.tensor([0, 1]))
    assert (gains[0] == 0).all()
    unit = unit_tokens(patches[1], 2)
    assert torch.allclose(unit.unflatten(-1, (2, 4)).norm(dim=-1), torch.ones(9, 2), atol=1e-5)
    expected = torch.stack([unit @ vectors[0] + 0.1, unit @ vectors[1] - 0.2]).amax(dim=0).clamp_min(0)
    torch.testing.assert_close(gains[1], expected)


def test_the_highest_weight_that_is_nearly_best_is_chosen_unless_other_kinds_lose() -> None:
    everything = np.ones(len(WEIGHTS), np.bool_)
    assert chosen(np.array([1.0, 1.0, 1.0, 1.0, 1.0]), everything) == 0
    assert chosen(np.array([1.0, 1.1, 1.2, 1.1999, 1.1]), everything) == 3
    assert chosen(np.array([1.0, 1.1, 1.2, 1.1999, 1.1]), np.array([1, 1, 0, 0, 0], np.bool_)) == 1
    assert chosen(np.array([1.0, 0.9, 0.8, 0.7, 0.6]), everything) == 0
    assert chosen(np.array([1.0, 1.001, 1.001, 1.001, 1.001]), everything) == 0
    assert chosen(np.array([1.0, 1.2, 1.3, 1.4, 1.5]), np.array([0, 0, 0, 0, 0], np.bool_)) == 0
    assert ALLOWED_LOSS <= 0.005


def test_image_auroc_is_scikit_learns() -> None:
    generator = torch.Generator().manual_seed(0)
    scores, good = (torch.randint(0, 9, (count,), generator=generator).float() for count in (7, 30))
    labels = np.repeat([1, 0], [7, 30])
    assert beaten(scores, good).mean() == pytest.approx(roc_auc_score(labels, torch.cat([scores, good]).numpy()))


def test_cells_are_chosen_by_mask_by_box_and_by_evidence() -> None:
    generator = torch.Generator().manual_seed(0)
    good = torch.rand(6, 16, 16, generator=generator)
    photo = 0.2 * torch.ones(16, 16)
    photo[:4, :4] = 5.0
    area = torch.zeros(16)
    area[:2] = 1.0
    assert defective(area, photo, good, exact=True).nonzero().flatten().tolist() == [0, 1]
    assert defective(area, photo, good, exact=False).nonzero().flatten().tolist() == [0]
    assert defective(None, photo, good, exact=False).nonzero().flatten().tolist() == [0]
    calm = 0.2 * torch.ones(16, 16)
    assert not defective(None, calm, good, exact=False).any()
    assert defective(area, calm, good, exact=False).any()
    assert not defective(0.001 * area, photo, good, exact=True).any()
