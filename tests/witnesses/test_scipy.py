"""Distances to prototypes against SciPy."""

import numpy as np
import torch
from scipy.spatial.distance import cdist

from clipada.models.prototypes import Prototypes
from drawn import clusters, seeded


def test_unfamiliarity_is_the_standardised_distance_to_the_nearest_prototype() -> None:
    points = clusters()
    prototypes = Prototypes.found_among(points, 8, seeded())
    new = points[:50].reshape(5, 10, 3) + torch.randn(5, 10, 3, generator=seeded(1))
    mean, std = points.numpy().mean(0), points.numpy().std(0)

    def nearest(tokens: torch.Tensor) -> np.ndarray:
        return cdist((tokens.reshape(-1, 3).numpy() - mean) / std, prototypes.centres.numpy()).min(1)

    usual = nearest(points)
    expected = (nearest(new) - usual.mean()) / usual.std()
    assert prototypes(new).shape == (5, 10)
    np.testing.assert_allclose(prototypes(new).reshape(-1), expected, rtol=2e-3, atol=2e-3)
