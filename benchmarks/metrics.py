"""Compare time and memory of the pixel metrics to scikit-learn and a plain AUPRO.

python benchmarks/metrics.py [--images 1725] [--rounds 3]

The maps are random, of 256 x 256 pixels, by default as many as MVTec AD has test images: smooth noise, higher in the
defects of two thirds of them.

- ``clipada``: AUROC, average precision, F1-max and AUPRO by ``PixelMetrics``, map by map.
- ``plain``: scikit-learn's ``roc_auc_score``, ``average_precision_score`` and ``precision_recall_curve``, and AUPRO as
  MVTec AD's own script computes it: sort all pixels and fill in shares region by region.

Each runs in a separate process, ``clipada`` both before and after ``plain``; drawing the maps is not timed. Seconds are
wall-clock time and, in parentheses, processor time, which other load hardly changes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.ndimage
from measuring import conditions, in_new_process
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from clipada.evaluation.metrics import AUPRO_FPR_LIMIT, PixelMetrics
from clipada.types import Map, Mask

SIDE = 256
NAMES = ("AUROC", "AP", "F1-max", "AUPRO")
Result = tuple[list[float], NDArray[np.float64]]
"""Metrics in the order of ``NAMES``, and wall-clock and processor seconds of each metric (``plain``) or of adding
the maps and of computing (``clipada``), ``(parts, 2)``."""


def now() -> NDArray[np.float64]:
    """Return wall-clock and processor seconds."""
    return np.array([time.perf_counter(), time.process_time()])


def drawn(images: int) -> Iterator[tuple[Map, Mask]]:
    """Draw maps and masks; 27 % of them are normal, as in MVTec AD."""
    rng = np.random.default_rng(0)
    for _ in range(images):
        mask = np.zeros((SIDE, SIDE), np.bool_)
        if rng.random() < 0.73:
            for _ in range(rng.integers(1, 4)):
                top, left = rng.integers(0, SIDE - 60, 2)
                height, width = rng.integers(8, 60, 2)
                mask[top : top + height, left : left + width] = True
        noise = scipy.ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE), dtype=np.float32), 2)
        raised = scipy.ndimage.gaussian_filter(mask.astype(np.float32), 4)
        yield 1 / (1 + np.exp(4 - 12 * noise - 5 * raised)), mask


def streamed(images: int) -> Result:
    """Compute the metrics with this package."""
    pixels, taking = PixelMetrics(), np.zeros(2)
    for values, mask in drawn(images):
        started = now()
        pixels.update(values, mask)
        taking += now() - started
    started = now()
    figures = pixels.compute()
    assert figures is not None
    found = [figures.auroc, figures.average_precision, figures.f1_max, figures.aupro]
    return found, np.stack((taking, now() - started))


def plain(images: int) -> Result:
    """Compute the same metrics with the libraries' functions, one after another."""
    drawn_maps, drawn_masks = zip(*drawn(images), strict=True)
    maps, masks = np.stack(drawn_maps), np.stack(drawn_masks)
    del drawn_maps, drawn_masks
    scores, labels = maps.ravel(), masks.ravel()
    figures, seconds = [], []
    for figure in (roc_auc_score, average_precision_score, plain_f1_max):
        started = now()
        figures.append(float(figure(labels, scores)))
        seconds.append(now() - started)
    started = now()
    figures.append(plain_aupro(maps, masks))
    return figures, np.stack((*seconds, now() - started))


def plain_f1_max(labels: NDArray[Any], scores: NDArray[Any]) -> float:
    """Compute the highest F1 on scikit-learn's precision-recall curve."""
    precision, recall, _ = precision_recall_curve(labels, scores)
    return float(np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12)))


def plain_aupro(maps: NDArray[np.float32], masks: NDArray[np.bool_]) -> float:
    """Compute AUPRO: each sorted pixel adds to the false positive rate or to its region's overlap; then integrate."""
    false, overlap = (~masks).astype(np.float64), np.zeros(maps.shape)
    regions = 0
    for index, mask in enumerate(masks):
        labeled, count = scipy.ndimage.label(mask, np.ones((3, 3)))
        for region in range(1, count + 1):
            inside = labeled == region
            overlap[index][inside] = 1 / inside.sum()
        regions += count
    order = np.argsort(maps, axis=None)[::-1]
    ordered = maps.ravel()[order]
    kept = np.append(np.diff(ordered) != 0, True)
    fpr, pro = (np.append(0, np.cumsum(part.ravel()[order])[kept]) for part in (false, overlap))
    fpr, pro = fpr / fpr[-1], pro / regions
    end = int(np.searchsorted(fpr, AUPRO_FPR_LIMIT))
    last = np.interp(AUPRO_FPR_LIMIT, fpr, pro)
    fpr, pro = np.append(fpr[:end], AUPRO_FPR_LIMIT), np.append(pro[:end], last)
    return float(np.trapezoid(pro, fpr)) / AUPRO_FPR_LIMIT


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1725)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of clipada; plain runs once, between them")
    options = parser.parse_args()
    print(conditions(1, "numpy", "scipy", "scikit-learn"))
    print(f"{options.images} maps of {SIDE} x {SIDE}")
    runs = []
    for index in range(options.rounds):
        runs.append(in_new_process(streamed, options.images))
        if index == (options.rounds - 1) // 2:
            (expected, slow), plain_peak = in_new_process(plain, options.images)
    (found, _), peak = runs[0]
    quick = np.median([seconds for (_, seconds), _ in runs], axis=0)
    for name, parts, seconds, most in (
        ("plain", NAMES, slow, plain_peak),
        ("clipada", ("taking maps", "computing"), quick, peak),
    ):
        each = ", ".join(f"{part} {wall:.1f} ({own:.1f})" for part, (wall, own) in zip(parts, seconds, strict=True))
        wall, own = seconds.sum(axis=0)
        print(f"{name}: {each}; together {wall:.1f} ({own:.1f}) s; process of {most:.0f} MiB at most")
    wall, own = slow.sum(axis=0) / quick.sum(axis=0)
    print(f"plain / clipada: {wall:.1f} on the wall, {own:.1f} by processor time")
    print("differences: " + ", ".join(f"{n} {abs(a - b):.1e}" for n, a, b in zip(NAMES, found, expected, strict=True)))


if __name__ == "__main__":
    main()
