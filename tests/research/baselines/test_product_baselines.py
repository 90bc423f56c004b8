"""AnomalyDINO and PatchCore for each product: distances by hand, masks by shape, and the budget of rows."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from clipada.config import AnomalyDinoConfig, PatchcoreConfig, ScoringConfig
from clipada.data import Dataset, read_batches
from clipada.errors import DatasetError
from clipada.evaluation.evaluate import evaluate_dataset
from clipada.images import read_rgb
from clipada.research.baselines import FitContext, fit_anomaly_dino, fit_patchcore
from clipada.research.baselines.anomaly_dino import AnomalyDino, foreground, rotated
from clipada.research.baselines.memory_bank import MemoryBank

SMALL = AnomalyDinoConfig(short_side=32, shots=2, masked=())
Fitting = tuple[str, object]


@pytest.fixture
def plates(context: FitContext) -> FitContext:
    return replace(context, dataset=context.dataset.of("plate"))


def images_of(dataset: Dataset, size: tuple[int, int]) -> torch.Tensor:
    batch = next(iter(read_batches([sample.path for sample in dataset.test], size, 8, 1)))
    return torch.from_numpy(batch.images).permute(0, 3, 1, 2).float() / 255


def test_a_products_images_keep_their_aspect_ratio_at_whole_patches(plates: FitContext) -> None:
    """Images of 48 x 40 pixels: the short side is 32, the long one 38.4, of which 40 are whole patches of 8."""
    assert fit_anomaly_dino(plates, SMALL).size == (32, 40)


def test_the_bank_has_every_token_of_each_rotation_of_the_first_images_of_a_seed(plates: FitContext) -> None:
    detector = fit_anomaly_dino(plates, SMALL).detector
    assert isinstance(detector, AnomalyDino)
    assert detector.bank.shape == (2 * 8 * 4 * 5, 32)
    assert detector.backbone.blocks == (3,)
    torch.testing.assert_close(detector.bank.norm(dim=1), torch.ones(len(detector.bank)), rtol=0, atol=1e-5)
    next_two = fit_anomaly_dino(replace(plates, seed=1), SMALL).detector.bank
    whole = fit_anomaly_dino(plates, replace(SMALL, shots=0, rotations=1)).detector.bank
    assert whole.shape == (6 * 20, 32)
    torch.testing.assert_close(detector.bank[:20], whole[:20], rtol=0, atol=1e-5)
    torch.testing.assert_close(next_two[:20], whole[40:60], rtol=0, atol=1e-5)


def test_maps_and_scores_are_those_of_the_definition(plates: FitContext) -> None:
    """Half of the cosine distance to the nearest of all rows; the score is the mean of a tenth of the 20 tokens."""
    engine = fit_anomaly_dino(plates, replace(SMALL, share=0.1, sigma=2.0))
    detector = engine.detector
    assert isinstance(detector, AnomalyDino)
    images = images_of(plates.dataset, engine.size)
    with torch.inference_mode():
        output = detector(images)
        tokens = detector.backbone(detector.backbone.normalize(images))
        normed = F.normalize(tokens, dim=-1)
    expected = (1 - (normed @ detector.bank.T).amax(dim=-1)) / 2
    torch.testing.assert_close(output.scores, expected.topk(2, dim=1).values.mean(dim=1), rtol=0, atol=1e-5)
    grid = expected.view(-1, 1, 4, 5)
    raw = F.interpolate(grid, size=engine.size, mode="bilinear", align_corners=False).squeeze(1)
    torch.testing.assert_close(output.maps, raw, rtol=0, atol=1e-5)
    found: list[np.ndarray] = []
    scoring = ScoringConfig(sigma=engine.sigma or 0)
    evaluate_dataset(engine, plates.dataset, scoring, on_image=lambda image: found.append(image.maps[-1]))
    pixels = 2.0 * (32 * 40) ** 0.5 / (40 * 48) ** 0.5  # two pixels of the image itself, at the size of the map
    np.testing.assert_allclose(found[0], gaussian_filter(raw[0].numpy(), pixels), atol=1e-4)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_part_in_the_center_is_found_for_any_sign_of_the_component(sign: int) -> None:
    """A square of 6 x 6 tokens with a hole of one token: dilated by one on each side, without the hole."""
    tokens = torch.randn(12, 12, 8, generator=torch.Generator().manual_seed(0)) * 0.1
    part = torch.zeros(12, 12, dtype=torch.bool)
    part[3:9, 3:9] = True
    part[5, 5] = False
    tokens[part] += 10.0 * sign * torch.eye(8)[0]
    tokens[~part] -= 30.0 * sign * torch.eye(8)[0]
    found = foreground(tokens.flatten(0, 1), (12, 12), 10.0).view(12, 12)
    expected = torch.zeros(12, 12, dtype=torch.bool)
    expected[2:10, 2:10] = True
    assert torch.equal(found, expected)


def test_a_masked_background_has_distance_0(plates: FitContext, monkeypatch: pytest.MonkeyPatch) -> None:
    masked = replace(SMALL, masked=("plate",))
    engine = fit_anomaly_dino(plates, masked)
    images = images_of(plates.dataset, engine.size)
    monkeypatch.setattr(
        "clipada.research.baselines.anomaly_dino.foreground",
        lambda tokens, grid, _: torch.arange(len(tokens)) < grid[1],  # the first row of tokens
    )
    with torch.inference_mode():
        maps = engine.detector(images).maps
        whole = fit_anomaly_dino(plates, SMALL).detector(images).maps
    assert not maps[:, 12:].any()
    torch.testing.assert_close(maps[:, :4], whole[:, :4])
    assert not engine.detector(images).maps[:, 12:].any()


def test_rotations_are_even_and_keep_the_size(plates: FitContext) -> None:
    image = read_rgb(plates.dataset.train[0].path)
    turned = list(rotated(image, 4))
    np.testing.assert_array_equal(turned[0], image)
    np.testing.assert_array_equal(turned[2], image[::-1, ::-1])
    assert [one.shape for one in turned] == [image.shape] * 4
    square = image[:40, :40]
    np.testing.assert_array_equal(list(rotated(square, 4))[1], np.rot90(square))


def test_patchcore_keeps_as_many_rows_as_asked_for_of_unit_blocks(plates: FitContext) -> None:
    context = replace(plates, backbone=replace(plates.backbone, blocks=(1, 2)))
    detector = fit_patchcore(context, PatchcoreConfig(rows=20)).detector
    assert isinstance(detector, MemoryBank)
    assert detector.bank.shape == (20, 64)
    lengths = detector.bank.view(20, 2, 32).norm(dim=-1)
    torch.testing.assert_close(lengths, torch.full((20, 2), 32**0.5), rtol=0, atol=0.02)
    whole = fit_patchcore(context, PatchcoreConfig(rows=1000)).detector
    assert whole.bank.shape == (96, 64)


@pytest.mark.parametrize("name", ["anomaly-dino", "patchcore"])
def test_scratches_are_found_and_several_products_refused(name: str, context: FitContext, plates: FitContext) -> None:
    fits = {
        "anomaly-dino": lambda where: fit_anomaly_dino(where, replace(SMALL, sigma=1.0)),
        "patchcore": lambda where: fit_patchcore(where, PatchcoreConfig(rows=60)),
    }
    engine = fits[name](plates).with_paper_scores()
    found = evaluate_dataset(engine, plates.dataset, ScoringConfig(sigma=engine.sigma or 0))
    assert found.passes[0]["plate"].image_auroc == 1
    pixel_auroc = found.categories["plate"].pixel_auroc
    assert pixel_auroc is not None
    assert pixel_auroc > 0.9
    with pytest.raises(DatasetError, match="model for each product"):
        fits[name](context)
