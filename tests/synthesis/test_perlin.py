"""Perlin noise against a slow independent reference, and its known moments."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipada.synthesis.perlin import draw_angles, noise_from_angles, perlin_noise


def reference(angles: np.ndarray, lattice: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Perlin's own four-corner interpolation, pixel by pixel in float64."""

    def fade(t: float) -> float:
        return 6 * t**5 - 15 * t**4 + 10 * t**3

    noise = np.zeros(size)
    for i in range(size[0]):
        for j in range(size[1]):
            y, x = i * lattice[0] / size[0], j * lattice[1] / size[1]
            row, column = (i * lattice[0]) // size[0], (j * lattice[1]) // size[1]
            v, u = y - row, x - column
            dots = [
                [
                    math.sin(angles[row + a, column + b]) * (v - a) + math.cos(angles[row + a, column + b]) * (u - b)
                    for b in (0, 1)
                ]
                for a in (0, 1)
            ]
            top, bottom = (d[0] + fade(u) * (d[1] - d[0]) for d in dots)
            noise[i, j] = math.sqrt(2) * (top + fade(v) * (bottom - top))
    return noise


@settings(max_examples=25, deadline=None)
@given(
    lattices=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=3),
    height=st.integers(1, 37),
    width=st.integers(1, 37),
    seed=st.integers(0, 1000),
)
def test_equals_the_reference_at_any_size_and_lattice_within_1e_5(lattices, height, width, seed):
    cells = torch.tensor(lattices)
    angles = draw_angles(cells, torch.Generator().manual_seed(seed))
    noise = noise_from_angles(angles, cells, (height, width))
    assert noise.shape == (len(lattices), height, width)
    for n, lattice in enumerate(lattices):
        expected = reference(angles[n].double().numpy(), lattice, (height, width))
        np.testing.assert_allclose(noise[n].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("exponents", [(0, 0), (0, 5), (5, 5), (3, 1)])
def test_is_exactly_zero_at_lattice_points(exponents):
    rows, columns = (2**k for k in exponents)
    # A larger lattice in the same batch must leave no trace on the smaller one.
    noise = perlin_noise(torch.tensor([[rows, columns], [32, 32]]), (96, 224), torch.Generator().manual_seed(0))
    assert (noise[0, :: 96 // rows, :: 224 // columns] == 0).all()
    assert noise[0].std() > 0.1


def test_is_smooth_across_cell_borders():
    noise = perlin_noise(torch.full((8, 2), 7), (1000, 10), torch.Generator().manual_seed(0))
    # The slope never exceeds sqrt(2) * (1 + fade' * distance) < 4 per cell; a torn border would jump by far more.
    assert noise.diff(dim=1).abs().max() < 4 * 7 / 1000


def test_moments_are_those_of_unit_gradients():
    noise = perlin_noise(torch.full((400, 2), 16), (80, 80), torch.Generator().manual_seed(0)).double()
    t = (np.arange(5)) / 5  # 80 pixels on 16 cells sample each cell at these five places
    fade = 6 * t**5 - 15 * t**4 + 10 * t**3
    weight_sum = ((1 - fade) ** 2 + fade**2).mean()
    moment_sum = ((1 - fade) ** 2 * t**2 + fade**2 * (1 - t) ** 2).mean()
    # var = 2 * sum over corners of w(u)^2 w(v)^2 * E[(g . d)^2], and E[(g . d)^2] = |d|^2 / 2 for a uniform direction.
    assert noise.std().item() == pytest.approx(math.sqrt(2 * weight_sum * moment_sum), rel=0.01)
    assert noise.mean().item() == pytest.approx(0, abs=0.003)
    skewness = (noise**3).mean() / noise.std() ** 3
    assert abs(skewness.item()) < 0.02


def test_directions_are_uniform():
    angles = draw_angles(torch.full((20, 2), 32), torch.Generator().manual_seed(0))
    counts = torch.histc(angles, bins=8, min=0, max=2 * math.pi)
    assert counts.sum() == angles.numel()
    assert (counts / angles.numel() - 1 / 8).abs().max() < 0.012
