"""The input check: is an image one that the model can inspect, or unlike all of its training images?

A model answers any image with a score, a black frame too. The check compares an image with the training images of its
product: by plain statistics (exposure, contrast, focus, noise, color) and by the distance of its descriptor, the frozen
backbone's view of the whole image, to the nearest one of a training image. There are ``TESTS`` limits. Each is the
farthest of three:

- the farthest training image, so that each is passed by at least ``n / (n + 1)`` of good parts, whatever the
  distribution;
- Student's prediction limit at the share ``rate / TESTS``, so that all together refuse at most the share ``rate`` of
  good parts if the statistics, and the logarithms of the distances, are normally distributed;
- a slack, so that defects on a part are never the reason: a fixed one for each statistic, and for the distance a
  quarter of that to an image without any content.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import special

from clipada.calibration.image_statistics import STATISTICS, Statistic, Values
from clipada.config import InputCheckConfig

Descriptors = NDArray[np.float32]
"""Vectors of unit length, ``(N, D)``."""

TESTS = 1 + sum((one.low is not None) + (one.high is not None) for one in STATISTICS)
"""Number of limits of a product: of all statistics, and of the distance."""

BLANK_SHARE = 0.25
"""Share of the distance to an image without content that is always allowed."""

_LEAST_DISTANCE = 1e-6
"""Distances below are rounding errors."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ProductInputs:
    """Training images of one product, as the input check knows them.

    Attributes:
        statistics: ``(n, len(STATISTICS))`` float64.
        descriptors: ``(n, D)`` float32 of unit length; ``None`` if the engine had none.
        blank: Descriptors of images without content, black, gray and white, ``(3, D)``; ``None`` without the others.
    """

    statistics: NDArray[np.float64]
    descriptors: Descriptors | None = None
    blank: Descriptors | None = None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Comparison of an image with one product.

    Attributes:
        excess: The largest share of a limit that a value of the image uses, measured from the median of the training
            images; above 1 the image is unlike them.
        reason: The first reason why it is unlike them, in words; ``None`` if it is like them.
    """

    excess: float
    reason: str | None


class ProductCheck:
    """Limits of one product.

    Args:
        inputs: The training images.
        rate: Share of good parts that the check may refuse, more than 0 and less than 1.
    """

    def __init__(self, inputs: ProductInputs, rate: float) -> None:
        self.inputs = inputs
        self.rate = rate / TESTS

    @cached_property
    def bounds(self) -> tuple[tuple[float, float, float], ...]:
        """Lower limit, median and upper limit of each statistic."""
        return tuple(
            self._bounds(one, values) for one, values in zip(STATISTICS, self.inputs.statistics.T, strict=True)
        )

    @cached_property
    def farthest(self) -> float | None:
        """Largest allowed distance to the nearest training image; ``None`` without descriptors, or with one image."""
        known, blank = self.inputs.descriptors, self.inputs.blank
        if known is None or blank is None or len(known) < 2:
            return None
        others = distances(known, known, leave_one_out=True)
        logs = np.log(others.clip(_LEAST_DISTANCE))
        slack = BLANK_SHARE * float(np.median(distances(blank, known)))
        return max(float(others.max()), float(np.exp(logs.mean() + self._margin(logs))), slack)

    def compare(self, values: Values, descriptor: NDArray[np.float32] | None) -> Finding:
        """Compare an image's statistics and descriptor ``(D,)``, where there is one, with the training images."""
        findings = [*self._compared(values), *self._distance(descriptor)]
        reason = next((finding.reason for finding in findings if finding.reason is not None), None)
        return Finding(excess=max((finding.excess for finding in findings), default=0.0), reason=reason)

    def _compared(self, values: Values) -> Iterator[Finding]:
        rows = zip(STATISTICS, values.tolist(), self.bounds, self.inputs.statistics.T, strict=True)
        for one, value, (low, median, high), known in rows:
            below = value < median
            word, limit = (one.low, low) if below else (one.high, high)
            if word is None or value == median:
                continue
            excess = (value - median) / (limit - median)
            training = f"at least {one.shown(known.min())}" if below else f"at most {one.shown(known.max())}"
            said = f"{word}: {one.quantity} {one.shown(value)}, training images {training}"
            yield Finding(excess=excess, reason=said if excess > 1 else None)

    def _distance(self, descriptor: NDArray[np.float32] | None) -> Iterator[Finding]:
        known = self.inputs.descriptors
        if descriptor is None or known is None or self.farthest is None or descriptor.shape != known.shape[1:]:
            return
        distance = float(distances(descriptor[np.newaxis], known)[0])
        excess = distance / self.farthest
        said = f"unlike every training image: distance {distance:.3g}, allowed {self.farthest:.3g}"
        yield Finding(excess=excess, reason=said if excess > 1 else None)

    def _bounds(self, one: Statistic, values: NDArray[np.float64]) -> tuple[float, float, float]:
        median, mean, margin = float(np.median(values)), float(values.mean()), self._margin(values)
        low = min(float(values.min()), mean - margin, median - one.allowed(median))
        high = max(float(values.max()), mean + margin, median + one.allowed(median))
        return low, median, high

    def _margin(self, values: NDArray[np.float64]) -> float:
        """Return Student's one-sided prediction margin for the next of some normally distributed values."""
        count = values.size
        if count < 2:
            return 0.0
        quantile = float(special.stdtrit(count - 1, 1 - self.rate))
        return quantile * float(values.std(ddof=1)) * float(np.sqrt(1 + 1 / count))


class InputCheck:
    """The input check of a run.

    Args:
        products: Training images by product.
        settings: Share of good parts that the check may refuse.
    """

    def __init__(self, products: Mapping[str, ProductInputs], settings: InputCheckConfig | None = None) -> None:
        self.settings = settings or InputCheckConfig()
        self.products = {name: ProductCheck(inputs, self.settings.rate) for name, inputs in products.items()}

    def reason(self, values: Values, descriptor: NDArray[np.float32] | None, product: str | None = None) -> str | None:
        """Return the reason why an image cannot be inspected, or ``None`` if it can.

        Args:
            values: The image's statistics.
            descriptor: The image's descriptor ``(D,)``, where there is one.
            product: The product that it should show. If the run does not know it, the image must be like any one
                product, and the reason is that of the product that it is most like.
        """
        found = {name: one.compare(values, descriptor) for name, one in self.products.items()}
        if product not in found:
            return min(found.values(), key=lambda finding: finding.excess).reason
        other = next((name for name, finding in found.items() if finding.reason is None), None)
        if found[product].reason is not None and other is not None:
            return f"another product: like the training images of {other}, not of {product}"
        return found[product].reason


def distances(images: Descriptors, known: Descriptors, *, leave_one_out: bool = False) -> NDArray[np.float64]:
    """Compute cosine distances ``(N,)``, 0..2, of descriptors to the nearest known one.

    With ``leave_one_out``, both are the same images, and none is compared with itself.
    """
    similarity = images.astype(np.float64) @ known.astype(np.float64).T
    if leave_one_out:
        np.fill_diagonal(similarity, -np.inf)
    nearest: NDArray[np.float64] = 1 - similarity.max(1)
    return nearest
