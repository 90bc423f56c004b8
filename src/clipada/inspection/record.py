"""One JSON line for each image, and the pictures beside it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clipada.images import write_png
from clipada.inspection.overlays import map_to_16bit, overlay
from clipada.scoring import map_statistics
from clipada.types import Failure, Verdict

OVERLAY = ".overlay.png"
MAP = ".map.png"

Record = dict[str, Any]
"""What a JSON line holds."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one image.

    Attributes:
        result: The verdict, or why there is none.
        record: The same as it stands in its JSON line.
    """

    result: Verdict | Failure
    record: Record


def is_picture(name: str) -> bool:
    """Whether a file's name is that of a picture that ``write_pictures`` writes."""
    return name.endswith((OVERLAY, MAP))


def write_pictures(folder: Path, name: str, verdict: Verdict) -> None:
    """Write an image's overlay and its 16-bit map, each whole or not at all."""
    picture = overlay(verdict.image, verdict.anomaly_map, verdict.threshold)
    write_png(folder / f"{name}{OVERLAY}", picture)
    write_png(folder / f"{name}{MAP}", map_to_16bit(verdict.anomaly_map))


def prediction_record(result: Verdict | Failure) -> dict[str, Any]:
    """One JSON line of ``predict``: the verdict, map statistics and regions, or the error."""
    if isinstance(result, Failure):
        return {"path": str(result.path), "error": str(result.error)}
    return {
        "path": None if result.path is None else str(result.path),
        "score": result.score,
        "p_value": result.p_value,
        "score_threshold": result.score_threshold,
        "defective": result.defective,
        "group": result.group,
        "width": result.size[0],
        "height": result.size[1],
        "map": map_statistics(result.anomaly_map, result.threshold),
        "threshold": result.threshold,
        "regions": [
            {
                "box": list(region.box),
                "area": region.area,
                "peak": region.peak,
                "peak_position": list(region.peak_position),
            }
            for region in result.regions
        ],
        "calibration": result.calibration,
        "model": None if result.model is None else asdict(result.model),
        "image_sha256": result.image_sha256,
        "time": result.time,
        "latency_ms": result.latency_ms,
    }
