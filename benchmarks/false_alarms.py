"""Check the false-alarm guarantee and the detection rate on real parts, per category, over repeated splits.

python benchmarks/false_alarms.py RUN DATA [--rate 0.01] [--splits 1000]
python benchmarks/false_alarms.py RUN DATA --calibrated

The good test images of each category are repeatedly split at random into two halves: one for calibration, the other for
the check. If a half is too small for the requested rate, the smallest whole percentage that it allows is used instead.

- ``asked``: the requested rate.
- ``mean``: mean share of checked good parts that are called defective, over the splits.
- ``first split``: false alarms of the first split alone, with the 95 % Clopper-Pearson interval of the rate of its
  threshold. No such interval holds for the mean, because the splits share their images.
- ``detected``: mean share of defective test images that are called defective.
- ``region``: mean share of checked good parts with any region above the pixel threshold.

``--calibrated`` uses the run's own ``calibration.json`` instead and reports the good and the defective test images that
are called defective, each with the Clopper-Pearson interval.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

from clipada.calibration import needed_images, threshold, threshold_rank
from clipada.config import CalibrationConfig
from clipada.data import load_dataset
from clipada.inspection import Inspector
from clipada.report import calibration_summary
from clipada.runs import read_run
from clipada.types import Verdict

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Parts:
    """Test images of a category.

    Attributes:
        scores: Image scores of the good images.
        peaks: Highest values of their maps.
        defective: Image scores of the defective images.
        alarms: For each good image, true if it was called defective.
        found: For each defective image, true if it was called defective.
    """

    scores: Values
    peaks: Values
    defective: Values
    alarms: Values
    found: Values


def scored(inspector: Inspector, data: Path) -> dict[str, Parts]:
    """Score a data set's test images, by category and together."""
    samples = load_dataset(data).test
    results = inspector.inspect_files([sample.path for sample in samples])
    rows = [
        (sample.category, sample.anomalous, verdict.score, float(verdict.anomaly_map.max()), bool(verdict.defective))
        for sample, verdict in zip(samples, results, strict=True)
        if isinstance(verdict, Verdict)
    ]

    def parts(category: str | None) -> Parts:
        chosen = [row for row in rows if category in (None, row[0])]
        good = np.array([row[2:] for row in chosen if not row[1]])
        bad = np.array([row[2:] for row in chosen if row[1]])
        return Parts(good[:, 0], good[:, 1], bad[:, 0], good[:, 2], bad[:, 2])

    categories = sorted({row[0] for row in rows})
    return {name: parts(name) for name in categories} | {"pooled": parts(None)}


def allowed(count: int, asked: CalibrationConfig) -> CalibrationConfig:
    """Return the requested guarantee, or that of the smallest whole percentage that ``count`` images allow."""
    rates = [asked.false_alarm_rate, *(percent / 100 for percent in range(1, 100))]
    guarantees = (replace(asked, false_alarm_rate=rate) for rate in rates if rate >= asked.false_alarm_rate)
    return next(guarantee for guarantee in guarantees if needed_images(guarantee) <= count)


def row(parts: Parts, asked: CalibrationConfig, splits: int) -> list[str]:
    """Compute the table row of one category under one guarantee."""
    rng = np.random.default_rng(0)
    half = parts.scores.size // 2
    settings = allowed(half, asked)
    rank = threshold_rank(half, settings)
    alarms, regions, detected = np.empty(splits), np.empty(splits), np.empty(splits)
    for split in range(splits):
        order = rng.permutation(parts.scores.size)
        chosen, checked = order[:half], order[half:]
        limit = threshold(np.sort(parts.scores[chosen]), rank)
        alarms[split] = np.count_nonzero(parts.scores[checked] > limit)
        regions[split] = np.mean(parts.peaks[checked] > threshold(np.sort(parts.peaks[chosen]), rank))
        detected[split] = np.mean(parts.defective > limit)
    checked_count = parts.scores.size - half
    interval = binomtest(int(alarms[0]), checked_count).proportion_ci(method="exact")
    return [
        settings.mode,
        f"{half} / {checked_count}",
        f"{100 * settings.false_alarm_rate:g} %",
        f"{100 * alarms.mean() / checked_count:.1f} %",
        f"{alarms[0]:.0f} of {checked_count} ({100 * interval.low:.0f}-{100 * interval.high:.0f} %)",
        f"{100 * detected.mean():.1f} %",
        f"{100 * regions.mean():.1f} %",
    ]


def calibrated_row(parts: Parts) -> list[str]:
    """Compute the table row of one category with the run's own calibration."""
    return [_share(parts.alarms), _share(parts.found)]


def _share(called: Values) -> str:
    interval = binomtest(int(called.sum()), called.size).proportion_ci(method="exact")
    bounds = f"{100 * interval.low:.1f}-{100 * interval.high:.1f} %"
    return f"{called.sum():.0f} of {called.size}: {100 * called.mean():.1f} % ({bounds})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--backbone")
    parser.add_argument("--rate", type=float, default=CalibrationConfig.false_alarm_rate)
    parser.add_argument("--splits", type=int, default=1000)
    parser.add_argument("--calibrated", action="store_true", help="use the run's calibration.json")
    options = parser.parse_args()
    inspector = Inspector.load(options.run, backbone=options.backbone, calibrated=options.calibrated)
    title = f"{read_run(options.run).backbone_label}, {options.splits} splits"
    columns = ["mode", "calibrate / check", "asked", "mean", "first split", "detected", "region"]
    if options.calibrated:
        if inspector.calibration is None:
            raise SystemExit(f"{options.run} has no calibration")
        title = " ".join(calibration_summary(inspector.calibration))
        columns = ["good parts called defective", "defective parts called defective"]
    table = Table(title=title, title_justify="left")
    for column in ("category", *columns):
        table.add_column(column, no_wrap=True)
    for category, parts in scored(inspector, options.data).items():
        if options.calibrated:
            table.add_row(category, *calibrated_row(parts))
            continue
        for mode in ("marginal", "conditional"):
            asked = CalibrationConfig(false_alarm_rate=options.rate, mode=mode)
            table.add_row(category, *row(parts, asked, options.splits))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
