"""Schema of ``metrics.json``, the file of a run's evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipada.config import ImageSize
from clipada.config.schema import build_known
from clipada.errors import ConfigError
from clipada.evaluation.kinds import Decisions, KindCount
from clipada.evaluation.metrics import CategoryMetrics
from clipada.files import read_json
from clipada.runs.records import damaged


@dataclass(frozen=True, kw_only=True)
class MetricsTables:
    """Metrics of one map, as ``metrics.json`` holds them.

    Attributes:
        categories: Metrics of each category.
        mean: Their mean.
    """

    categories: dict[str, CategoryMetrics]
    mean: CategoryMetrics


@dataclass(frozen=True, kw_only=True)
class MetricsProtocol:
    """Those facts of an evaluation that reports need.

    Attributes:
        data: Name of the data set.
        image_size: Side of the square input, or its height and width, in pixels.
        masks: Rule for the ground-truth masks.
        aupro_fpr_limit: Largest false-positive rate of the AUPRO.
        engine: Engine of the evaluation.
        mean: Rule for the mean over categories.
        left_out: Images that could not be used.
        trained_on: Test images that the model was trained on.
        notes: Remarks on masks and test images.
    """

    data: str
    image_size: ImageSize
    masks: str
    aupro_fpr_limit: float
    engine: str = ""
    mean: str = ""
    left_out: tuple[str, ...] = ()
    trained_on: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MetricsRecord(MetricsTables):
    """Content of ``metrics.json``.

    Attributes:
        protocol: Settings and rules of the evaluation.
        passes: Metrics of each pass alone.
        decisions: Found and missed defects by product and kind, if there was a calibration.
    """

    protocol: dict[str, Any]
    passes: tuple[MetricsTables, ...] = ()
    decisions: Decisions | None = None


def recorded_kinds(metrics: dict[str, Any] | None) -> tuple[KindCount, ...]:
    """Return the found and missed defects by product and kind that ``metrics.json`` holds, if it holds any."""
    decisions = (metrics or {}).get("decisions")
    return tuple(KindCount(**kind) for kind in decisions["kinds"]) if decisions else ()


def read_metrics(path: Path, remedy: str = "delete it, then run `clipada evaluate` again") -> dict[str, Any]:
    """Read ``metrics.json`` and check it against ``MetricsRecord``.

    Raises:
        RunError: The file is damaged (then with ``remedy``).
    """
    content = read_json(path, remedy)
    try:
        record: MetricsRecord = build_known(MetricsRecord, content, "")
        build_known(MetricsProtocol, record.protocol, "protocol.")
    except ConfigError as error:
        raise damaged(path, error, remedy) from error
    return content
