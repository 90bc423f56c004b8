"""A verdict as people see it in Python: its picture, and the box that a notebook shows for it."""

from __future__ import annotations

import base64
import html
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.Image

from clipada.errors import ImageError
from clipada.images import write_png
from clipada.inspection.overlays import dimmed, overlay
from clipada.inspection.record import placement_words
from clipada.types import Verdict

BADGES = {
    "good": ("GOOD", "#1a7f37"),
    "defective": ("DEFECTIVE", "#cf222e"),
    "not_inspectable": ("NOT INSPECTABLE", "#9a6700"),
}
"""Word and background of each decision."""

UNDECIDED = ("NOT CALIBRATED", "#57606a")
"""Word and background of a verdict without a decision."""

QUALITY = 85
"""JPEG quality of the picture in a notebook, whose file stays small."""


def draw(verdict: Verdict) -> PIL.Image.Image:
    """Draw the overlay of a verdict as a Pillow image, which a notebook shows."""
    return PIL.Image.fromarray(overlay(dimmed(verdict.image, verdict.inside), verdict.anomaly_map, verdict.threshold))


def save(verdict: Verdict, path: Path) -> Path:
    """Write the overlay of a verdict as a PNG file, atomically.

    Raises:
        ImageError: The name does not end in ``.png``.
        OSError: The file cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise ImageError(f"cannot save the verdict as {path}", expected="a name that ends in .png", got=path.name)
    write_png(path, np.asarray(draw(verdict)))
    return path


def verdict_html(verdict: Verdict) -> str:
    """Write a verdict as HTML without scripts or links: decision, figures in words, and the overlay."""
    word, color = BADGES[verdict.decision] if verdict.decision else UNDECIDED
    content = BytesIO()
    draw(verdict).save(content, "JPEG", quality=QUALITY)
    picture = base64.b64encode(content.getvalue()).decode("ascii")
    name = "" if verdict.path is None else f" {html.escape(verdict.path.name)}"
    badge = f'<b style="background: {color}; color: #fff; padding: 0.1em 0.5em; border-radius: 0.3em">{word}</b>'
    image = f'<img alt="overlay of the anomaly map" style="max-width: 100%" src="data:image/jpeg;base64,{picture}">'
    return f"<div>{badge}{name}<br>{html.escape(', '.join(_figures(verdict)))}<br>{image}</div>"


def _figures(verdict: Verdict) -> list[str]:
    """Say what led to the decision."""
    limit = "" if verdict.score_threshold is None else f" (defective above {verdict.score_threshold:.4f})"
    figures = [f"score {verdict.score:.4f}{limit}"]
    if verdict.p_value is not None:
        figures.append(f"p-value {verdict.p_value:.3g}")
    count = len(verdict.regions)
    figures.append(f"{count} region{'s' * (count != 1)} above {verdict.threshold:.3g}")
    figures += [verdict.input_reason] if verdict.input_reason else []
    figures += [] if verdict.placement is None else [placement_words(verdict.placement.to_dict())]
    return [*figures, f"{verdict.latency_ms:.0f} ms"]
