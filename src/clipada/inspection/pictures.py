"""The pictures of a verdict on the disk: its overlay and its anomaly map."""

from __future__ import annotations

from pathlib import Path

from clipada.images import write_png
from clipada.inspection.overlays import map_to_16bit, overlay
from clipada.types import Verdict

OVERLAY = ".overlay.png"
MAP = ".map.png"


def is_picture(name: str) -> bool:
    """Return True for the name of a file that ``write_pictures`` writes."""
    return name.endswith((OVERLAY, MAP))


def write_pictures(folder: Path, name: str, verdict: Verdict) -> None:
    """Write an image's overlay and its 16-bit map, each atomically."""
    picture = overlay(verdict.image, verdict.anomaly_map, verdict.threshold)
    write_png(folder / f"{name}{OVERLAY}", picture)
    write_png(folder / f"{name}{MAP}", map_to_16bit(verdict.anomaly_map))
