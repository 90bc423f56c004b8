"""Plain statistics of an image: exposure, contrast, focus, noise and color, as seen at the model's input size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipada.types import Image

Values = NDArray[np.float64]
"""One value for each of ``STATISTICS``."""

WHITE, BLACK = 250, 5
"""A pixel is white if none of its channels is below ``WHITE``, and black if none is above ``BLACK``."""

DARK, FLAT, SMOOTH, QUIET = 8.0, 0.5, 0.25, 1.0
"""Gray levels that are added before the logarithms of brightness, contrast, edges and noise: smaller differences do not
count."""


@dataclass(frozen=True, kw_only=True)
class Statistic:
    """One statistic of an image, and what follows from a value unlike those of the training images.

    Attributes:
        quantity: Its name in words.
        low: Reason for a value that is too low; ``None``: there is no lower limit.
        high: Reason for a value that is too high; ``None``: there is no upper limit.
        slack: Distance from the median of the training images that is always allowed, so that a defect on a part never
            counts as another exposure or focus, however alike the training images are.
        shown: Returns a value in a unit that readers know.
        share: True for a share 0..1, of which at most half of the rest up to 1 is allowed.
    """

    quantity: str
    low: str | None = None
    high: str | None = None
    slack: float
    shown: Callable[[float], str]
    share: bool = False

    def allowed(self, median: float) -> float:
        """Return the slack for a median."""
        return min(self.slack, (1 - median) / 2) if self.share else self.slack


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _levels(offset: float) -> Callable[[float], str]:
    return lambda value: f"{max(0.0, 2**value - offset):.1f}"


def _ratio(value: float) -> str:
    return f"{2**value:.2f}"


STATISTICS = (
    Statistic(quantity="black pixels", high="dark", slack=0.25, shown=_percent, share=True),
    Statistic(quantity="white pixels", high="overexposed", slack=0.25, shown=_percent, share=True),
    Statistic(quantity="mean gray level", low="dark", high="bright", slack=0.5, shown=_levels(DARK)),
    Statistic(quantity="standard deviation of the gray level", low="flat", slack=1.0, shown=_levels(FLAT)),
    Statistic(quantity="contrast of edges", low="out of focus", slack=1.0, shown=_levels(SMOOTH)),
    Statistic(quantity="median contrast of neighbors", high="noisy", slack=1.5, shown=_levels(QUIET)),
    Statistic(quantity="red to green", low="off color", high="off color", slack=0.5, shown=_ratio),
    Statistic(quantity="blue to green", low="off color", high="off color", slack=0.5, shown=_ratio),
)
"""All statistics, in the order in which reasons are given: a dark image is also flat and blurred. All but the shares
are binary logarithms, so that a slack of 1 is a factor of 2."""


def image_statistics(image: Image) -> Values:
    """Compute the statistics of an image ``(H, W, 3)`` uint8, at least 3 x 3 pixels."""
    red, green, blue = (np.ascontiguousarray(image[..., channel]) for channel in range(3))
    black = np.maximum(np.maximum(red, green), blue) <= BLACK
    white = np.minimum(np.minimum(red, green), blue) >= WHITE
    triple = red.astype(np.int16) + green + blue  # three times the gray level: exact, and faster than floats
    around = triple[:-2, 1:-1] + triple[2:, 1:-1] + triple[1:-1, :-2] + triple[1:-1, 2:]
    edges = np.abs(around - 4 * triple[1:-1, 1:-1]).ravel()  # Laplacian
    means = [float(channel.mean()) + DARK for channel in (red, green, blue)]
    levels = [
        float(triple.mean()) / 3 + DARK,
        float(triple.std(dtype=np.float32)) / 3 + FLAT,
        float(np.sqrt(np.square(edges, dtype=np.float32).mean())) / 3 + SMOOTH,
        float(np.partition(edges, edges.size // 2)[edges.size // 2]) / 3 + QUIET,
        means[0] / means[1],
        means[2] / means[1],
    ]
    return np.array([black.mean(), white.mean(), *np.log2(levels)], np.float64)
