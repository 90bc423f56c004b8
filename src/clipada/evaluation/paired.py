"""Paired comparison of methods on the same test images: differences with intervals, by the bootstrap.

Test images are drawn with replacement, the normal and the defective ones of each category apart, and every method is
evaluated on the same draws (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993): images that are hard for
both methods then widen no interval. Maps are not kept. The pixels of each image are counted by map value instead, in
steps of 1/1024 of the value, so that the counts of a drawn test set are a matrix product.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipada.errors import ClipAdaError, RunError
from clipada.evaluation.metrics import AUPRO_FPR_LIMIT
from clipada.evaluation.metrics.ranking import ClassScores, Ranking
from clipada.evaluation.metrics.streaming import region_shares
from clipada.files import atomic_write
from clipada.types import Map, Mask

METRICS = ("image_auroc", "pixel_auroc", "pixel_ap", "aupro")
"""The compared metrics: names of fields of ``CategoryMetrics``."""

RESAMPLES = 1000
"""Draws of a test set."""

LEVEL = 0.95
"""Share of the draws inside of an interval."""

DROPPED_BITS = 13
"""Lowest bits of a float32 that are not counted: 10 of 23 bits of the fraction remain."""

AT_ONCE = 50
"""Draws whose counts are in memory at a time."""

Counts = NDArray[np.uint32]


class Interval(NamedTuple):
    """An interval that holds ``LEVEL`` of the draws."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class CategoryScores:
    """One method's scores of a category's test images, and their pixels by map value.

    Shapes: ``N`` images, sorted by name; ``K`` map values, highest first.

    Attributes:
        names: Names of the images, the same for every method.
        anomalous: ``(N,)`` bool.
        scores: Image scores, ``(N,)``.
        normal: Number of normal pixels, ``(N, K)``.
        defective: Number of defective pixels, ``(N, K)``.
        overlap: The defective pixels' shares of their regions, ``(N, K)``.
    """

    names: tuple[str, ...]
    anomalous: NDArray[np.bool_]
    scores: NDArray[np.float64]
    normal: Counts = field(repr=False)
    defective: Counts = field(repr=False)
    overlap: NDArray[np.float32] = field(repr=False)

    def evaluate(self, draws: NDArray[np.int64]) -> NDArray[np.float64]:
        """Compute ``METRICS`` of drawn test sets.

        Args:
            draws: ``(R, N)``: how often each image is drawn.

        Returns:
            ``(R, 4)``, 0..1; NaN where a class is missing.
        """
        tables = [np.asarray(table, np.float64) for table in (self.normal, self.defective, self.overlap)]
        found = np.empty((len(draws), len(METRICS)))
        for start in range(0, len(draws), AT_ONCE):
            part = draws[start : start + AT_ONCE]
            counts = (part.astype(np.float64) @ table for table in tables)
            for index, (drawn, *pixels) in enumerate(zip(part, *counts, strict=True), start):
                found[index] = self._image_auroc(drawn), *_pixel_metrics(*pixels)
        return found

    def _image_auroc(self, drawn: NDArray[np.int64]) -> float:
        kept = [group & (drawn > 0) for group in (~self.anomalous, self.anomalous)]
        if not all(group.any() for group in kept):
            return np.nan
        return Ranking.of(*(ClassScores(self.scores[group], drawn[group]) for group in kept)).area(limit=1.0)


class ScoreCollector:
    """Collector of one method's scores and maps of a category's test images."""

    def __init__(self) -> None:
        self._images: dict[str, tuple[bool, float, NDArray[np.int64], NDArray[np.float64]]] = {}

    def add(
        self, name: str, score: float, anomalous: bool, values: Map, mask: Mask | None, inside: Mask | None = None
    ) -> None:
        """Add an image.

        Args:
            name: Its name, the same for every method.
            score: Its image score, finite.
            anomalous: True if it shows a defect.
            values: ``(H, W)``: the anomaly map, 0 or more.
            mask: ``(H, W)``, all false for a normal image; pixels without one do not count.
            inside: Region of interest, ``(H, W)``, outside of which no pixel counts; ``None`` for the whole image.

        Raises:
            ClipAdaError: A value is not finite, or less than 0.
        """
        if not (np.isfinite(values).all() and values.min() >= 0 and np.isfinite(score)):
            raise ClipAdaError(f"cannot compare the map of {name}", expected="finite values of 0 or more", got="others")
        keys, counts = np.empty(0, np.int64), np.empty((3, 0))
        counted = np.ones(np.shape(values), np.bool_) if inside is None else inside
        if mask is not None and counted.any():
            keys, counts = _counted(values[counted], mask[counted], region_shares(mask & counted))
        self._images[name] = anomalous, float(score), keys, counts

    def collect(self) -> CategoryScores:
        """Return all images so far, sorted by name."""
        names = sorted(self._images)
        images = [self._images[name] for name in names]
        keys = np.unique(np.concatenate([keys for *_, keys, _ in images]))[::-1]
        tables = np.zeros((3, len(names), keys.size))
        for row, (*_, own, counts) in enumerate(images):
            tables[:, row, keys.size - 1 - np.searchsorted(keys[::-1], own)] = counts
        return CategoryScores(
            names=tuple(names),
            anomalous=np.array([anomalous for anomalous, *_ in images], np.bool_),
            scores=np.array([score for _, score, *_ in images], np.float64),
            normal=tables[0].astype(np.uint32),
            defective=tables[1].astype(np.uint32),
            overlap=tables[2].astype(np.float32),
        )


def draw_means(method: Mapping[str, CategoryScores], resamples: int = RESAMPLES, seed: int = 0) -> NDArray[np.float64]:
    """Compute the means over categories of ``METRICS`` of drawn test sets.

    The draws depend on categories, numbers of images and seed alone, so they are the same for every method.

    Args:
        method: One method's scores by category.
        resamples: Number of draws ``R``.
        seed: Source of the draws.

    Returns:
        ``(R, 4)``, 0..1; NaN for a metric that no category has.
    """
    found = [scores.evaluate(_draws(name, scores.anomalous, resamples, seed)) for name, scores in method.items()]
    known = ~np.isnan(found)
    with np.errstate(invalid="ignore"):
        means: NDArray[np.float64] = np.where(known, found, 0).sum(axis=0) / known.sum(axis=0)
    return means


def difference_intervals(first: NDArray[np.float64], second: NDArray[np.float64]) -> dict[str, Interval | None]:
    """Return the interval of ``first - second`` of each metric; ``None`` where it is undefined.

    Args:
        first: Result of ``draw_means`` of one method.
        second: That of another, of the same images, draws and seed.
    """
    differences = first - second
    limits = np.quantile(differences, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0).T
    return {
        name: None if np.isnan(values).any() else Interval(*pair)
        for name, values, pair in zip(METRICS, differences.T, limits.tolist(), strict=True)
    }


def require_same_images(first: Mapping[str, CategoryScores], second: Mapping[str, CategoryScores], other: str) -> None:
    """Raise ``RunError`` unless two methods have scores of the same images, which a paired comparison needs.

    Args:
        first: One method's scores by category.
        second: Another's.
        other: The other's name, for the error.
    """
    if {name: scores.names for name, scores in first.items()} == {
        name: scores.names for name, scores in second.items()
    }:
        return
    counts = [sum(len(scores.names) for scores in method.values()) for method in (first, second)]
    raise RunError(
        f"cannot compare with {other}",
        expected=f"scores of the same {counts[0]} images",
        got=f"scores of {counts[1]}, not all of them the same",
        remedy="check which images could not be read, then choose another --out",
    )


def save_scores(path: Path, scores: CategoryScores) -> None:
    """Write scores to an ``.npz`` file; ``load_scores`` reads them."""
    arrays: dict[str, Any] = {**vars(scores), "names": np.array(scores.names, np.str_)}
    with atomic_write(path) as aside, aside.open("wb") as file:
        np.savez_compressed(file, **arrays)


def load_scores(path: Path) -> CategoryScores:
    """Read scores that ``save_scores`` wrote; raise ``RunError`` if the file is damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        return CategoryScores(**{**found, "names": tuple(found["names"].tolist())})
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise RunError(f"{path} is damaged", got=str(error), remedy="delete it and run the command again") from error


def _counted(
    values: NDArray[np.float32], mask: NDArray[np.bool_], shares: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Count an image's pixels by map value.

    Args:
        values: Those of the pixels that count, ``(n,)``.
        mask: True where they are defective, ``(n,)``.
        shares: Each defective pixel's share of its region.

    Returns:
        Keys ``(K,)`` in rising order, and the three counts of each ``(3, K)``.
    """
    # a float32 that is not negative has the order of its bits
    keys = (np.ascontiguousarray(values, np.float32).view(np.uint32) >> DROPPED_BITS).astype(np.int64)
    low = int(keys.min())
    keys -= low
    size = int(keys.max()) + 1
    defective = keys[mask]
    counts: NDArray[np.float64] = np.stack(
        [
            np.bincount(keys[~mask], minlength=size),
            np.bincount(defective, minlength=size),
            np.bincount(defective, shares, minlength=size),
        ]
    )
    present: NDArray[np.int64] = np.flatnonzero(counts[:2].any(axis=0))
    return present + low, counts[:, present]


def _pixel_metrics(
    normal: NDArray[np.float64], defective: NDArray[np.float64], overlap: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Compute pixel AUROC, average precision and AUPRO of counts by map value, highest first, ``(K,)`` each."""
    false = normal.cumsum().round().astype(np.int64)
    at = np.flatnonzero(defective)
    if not at.size or not false[-1]:
        return np.nan, np.nan, np.nan
    ranking = Ranking(
        hits=defective[at].round().astype(np.int64),
        overlap=overlap[at],
        above=false[at] - normal[at].round().astype(np.int64),
        false=false[at],
        normal=int(false[-1]),
    )
    return ranking.area(1.0), ranking.average_precision(), ranking.area(AUPRO_FPR_LIMIT, per_region=True)


def _draws(category: str, anomalous: NDArray[np.bool_], resamples: int, seed: int) -> NDArray[np.int64]:
    """Draw how often each image of a category is in each test set, ``(R, N)``: as many of each class as there are."""
    rng = np.random.default_rng([seed, zlib.crc32(category.encode("utf-8", "backslashreplace"))])
    draws = np.zeros((resamples, anomalous.size), np.int64)
    for group in (~anomalous, anomalous):
        if count := int(group.sum()):
            draws[:, group] = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
    return draws
