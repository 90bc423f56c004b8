"""DRAEM's properties: the paper's size, its losses, and an anomaly that only the mask shows."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage
import torch
from kornia.metrics import ssim

from brief_baselines import DRAEM
from clipada.errors import ConfigError
from clipada.research.baselines import FitContext, fit_draem
from clipada.research.baselines.draem import DiscriminativeNetwork, Draem, ReconstructiveNetwork, focal_loss, objective


def test_the_papers_width_gives_the_papers_size() -> None:
    """97.42 million parameters, as the authors' code has."""
    with torch.device("meta"):
        networks = [ReconstructiveNetwork(128), DiscriminativeNetwork(64)]
    sizes = [sum(parameter.numel() for parameter in network.parameters()) for network in networks]
    assert sizes == [69_048_579, 28_374_146]


def test_the_bottleneck_is_a_sixteenth_of_the_side_and_nothing_goes_around_it() -> None:
    """The reconstructive network has no shortcut: what its narrowest layer does not carry is lost."""
    network = ReconstructiveNetwork(4).eval()
    shapes: list[torch.Size] = []

    def emptied(_module: torch.nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        shapes.append(output.shape)
        return output * 0

    network[4].register_forward_hook(emptied)
    with torch.no_grad():
        first, second = (network(images) for images in torch.rand(2, 1, 3, 64, 96))
    assert shapes == [(1, 32, 4, 6)] * 2
    torch.testing.assert_close(first, second)


def by_scipy(one: np.ndarray, other: np.ndarray) -> float:
    """SSIM of two channels of range 0..1 (Wang et al., 2004): Gaussian windows of 11 pixels, sigma 1.5."""

    def local(values: np.ndarray) -> np.ndarray:
        return scipy.ndimage.gaussian_filter(values, 1.5, mode="mirror", radius=5)

    means = local(one), local(other)
    spreads = local(one**2) - means[0] ** 2, local(other**2) - means[1] ** 2
    together = local(one * other) - means[0] * means[1]
    above = (2 * means[0] * means[1] + 0.01**2) * (2 * together + 0.03**2)
    below = (means[0] ** 2 + means[1] ** 2 + 0.01**2) * (spreads[0] + spreads[1] + 0.03**2)
    return float((above / below).mean())


def test_similarity_is_that_of_an_independent_implementation() -> None:
    one, other = torch.rand(2, 1, 1, 24, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    other = 0.7 * one + 0.3 * other
    expected = by_scipy(one[0, 0].numpy(), other[0, 0].numpy())
    assert float(ssim(one, other, 11).mean()) == pytest.approx(expected, abs=1e-6)
    assert float(ssim(one, one, 11).mean()) == pytest.approx(1, abs=1e-6)


def test_the_focal_loss_is_its_formula() -> None:
    logits = torch.tensor([[[[2.0, -1.0]], [[0.0, 0.5]]]])
    masks = torch.tensor([[[[0.0, 1.0]]]])
    chances = [1 / (1 + np.exp(-2.0)), 1 / (1 + np.exp(-1.5))]
    expected = np.mean([-((1 - p) ** 2) * np.log(p) for p in chances])
    assert float(focal_loss(logits, masks, 2.0)) == pytest.approx(expected, rel=1e-5)
    cross_entropy = torch.nn.functional.cross_entropy(logits, masks[:, 0].long())
    torch.testing.assert_close(focal_loss(logits, masks, 0.0), cross_entropy)


def test_a_perfect_answer_costs_nothing_and_each_fault_costs() -> None:
    clean = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(1, 1, 32, 32)
    masks[..., :9] = 1
    sure = 40 * torch.cat([0.5 - masks, masks - 0.5], dim=1)
    assert float(objective(clean, clean, sure, masks, 2.0)) == pytest.approx(0, abs=1e-4)
    assert float(objective(1 - clean, clean, sure, masks, 2.0)) > 1
    assert float(objective(clean, clean, -sure, masks, 2.0)) > 30


def test_the_image_score_is_the_peak_of_the_averaged_map() -> None:
    """The mean is over 3 x 3 pixels: 21 pixels at 256 are 3 at 32."""
    detector = Draem(DRAEM).eval()
    with torch.no_grad():
        findings = detector(torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    expected = [scipy.ndimage.uniform_filter(one.numpy(), 3)[1:-1, 1:-1].max() for one in findings.maps]
    np.testing.assert_allclose(findings.scores, expected, atol=1e-6)


def test_an_image_that_cannot_be_halved_five_times_is_refused(context: FitContext) -> None:
    with pytest.raises(ConfigError, match="multiple of 32"):
        fit_draem(replace(context, image_size=48), DRAEM)
