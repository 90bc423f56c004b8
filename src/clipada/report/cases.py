"""The most informative parts, and their pictures."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import PIL.Image

from clipada.data import read_mask
from clipada.errors import ImageError
from clipada.images import resize_mask
from clipada.inspection.overlays import dimmed, outlined, picture_size, views
from clipada.report.parts import ScoredPart
from clipada.types import Decision, Failure, Image, Verdict

Inspect = Callable[[Iterable[Path]], Iterator[Verdict | Failure]]
"""Inspects files, one result each, in order: ``Inspector.inspect_files``."""

SIDE = 512
"""A picture's longer side, in pixels: what its large view shows."""

QUALITY = 80
"""Quality of the WebP pictures, 0..100."""

LABELED_CASES = 3
"""Number of labeled parts shown for each kind of case in a category."""

INSPECTED_CASES = 12
"""Number of unlabeled parts shown that are defective, not inspectable, or not decided on."""

GOOD_CASES = 3
"""Number of unlabeled good parts shown."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture, ready to be embedded.

    Attributes:
        label: Its content, in a word.
        source: A ``data:`` URL.
        width: Width in pixels.
        height: Height in pixels.
    """

    label: str
    source: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Case:
    """A part and its pictures."""

    part: ScoredPart
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, kw_only=True)
class Cases:
    """Parts chosen for one reason.

    Attributes:
        title: The reason, in words.
        parts: The chosen parts, best match first.
        shown: Those of them whose files could be read.
    """

    title: str
    parts: tuple[ScoredPart, ...]
    shown: tuple[Case, ...] = ()


def choose_cases(parts: Sequence[ScoredPart]) -> tuple[Cases, ...]:
    """Choose the best and the worst cases of one category; no part is chosen twice, and none without a file."""
    shown = [part for part in parts if part.path]
    ranked = sorted((part for part in shown if part.counts), key=lambda part: -part.score)
    anomalous = [part for part in ranked if part.kind == "anomalous"]
    good = [part for part in ranked if part.kind == "good"]
    inspected = [part for part in ranked if part.kind == "inspected"]
    lowest = anomalous[LABELED_CASES:][-LABELED_CASES:][::-1]
    chosen = {
        "Defects with the lowest scores, the first to be missed": lowest,
        "Good parts with the highest scores, the first false alarms": good[:LABELED_CASES],
        "Defects with the highest scores": anomalous[:LABELED_CASES],
        "Defective parts with the highest scores": _decided(inspected, "defective")[:INSPECTED_CASES],
        "Good parts with the highest scores": _decided(inspected, "good")[:GOOD_CASES],
        "Parts with the highest scores": _decided(inspected, None)[:INSPECTED_CASES],
        "Images that are not inspectable": [part for part in shown if not part.counts][:INSPECTED_CASES],
    }
    return tuple(Cases(title=title, parts=tuple(found)) for title, found in chosen.items() if found)


def _decided(parts: Sequence[ScoredPart], decision: Decision | None) -> list[ScoredPart]:
    return [part for part in parts if part.decision == decision]


def with_pictures(chosen: Sequence[Cases], inspect: Inspect) -> tuple[tuple[Cases, ...], tuple[Failure, ...]]:
    """Inspect the chosen parts again and draw them.

    Returns:
        The cases with their pictures, and the files that can no longer be read.
    """
    failures: list[Failure] = []
    results = inspect(part.path for cases in chosen for part in cases.parts if part.path)
    drawn = tuple(replace(cases, shown=tuple(_draw(cases.parts, results, failures))) for cases in chosen)
    return drawn, tuple(failures)


def _draw(parts: Iterable[ScoredPart], results: Iterator[Verdict | Failure], failures: list[Failure]) -> Iterator[Case]:
    """Draw each part with the next result; append files that cannot be read to ``failures``."""
    for part, path in ((part, part.path) for part in parts if part.path):
        result = next(results)
        if isinstance(result, Failure):
            failures.append(result)
            continue
        try:
            pictures = tuple(_pictures(part, result))
        except ImageError as error:
            failures.append(Failure(path=path, error=error))
        else:
            yield Case(part=part, pictures=pictures)


def _pictures(part: ScoredPart, verdict: Verdict) -> Iterator[Picture]:
    """Draw the image, the ground truth where it is known, the map, the contour."""
    threshold = verdict.threshold if part.threshold is None else part.threshold
    size = picture_size((verdict.image.shape[0], verdict.image.shape[1]), (SIDE, SIDE))
    plain, overlaid, contour = views(dimmed(verdict.image, verdict.inside), verdict.anomaly_map, threshold, size)
    yield _picture("image", plain)
    if part.masks and part.path:
        height, width, _ = verdict.image.shape
        mask = resize_mask(read_mask(part.masks, part.path, (width, height)), (height, width))
        yield _picture("truth", outlined(verdict.image, mask, size))
    yield _picture("map", overlaid)
    yield _picture(f"contour above {threshold:.3g}", contour)


def _picture(label: str, image: Image) -> Picture:
    """Encode an image ``(H, W, 3)`` uint8. Thin outlines stay crisp by ``use_sharp_yuv``."""
    file = BytesIO()
    PIL.Image.fromarray(image).save(file, "WEBP", quality=QUALITY, use_sharp_yuv=True)
    source = "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
    return Picture(label=label, source=source, width=image.shape[1], height=image.shape[0])
