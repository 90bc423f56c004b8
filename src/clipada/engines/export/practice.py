"""The use of an export on this machine: the verdicts of the model in PyTorch, its size and its time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np

from clipada.engines.export.images import Photo
from clipada.types import Engine, ImageEngine, LocalizedImage, Progress, ProgressReport, unreported

Defective = Callable[[Photo, LocalizedImage], bool]
"""Decides from an engine's output for an image if its part is defective."""


@dataclass(frozen=True, kw_only=True)
class Practice:
    """Verdicts, size and time of an export.

    Attributes:
        images: Number of images that each engine inspected, one at a time.
        same_verdict: Number of them with the same verdict by the export as by PyTorch.
        by: Rule of these verdicts, in words.
        size: Bytes of the export.
        torch_ms: Median milliseconds that the model in PyTorch takes for an image, in float32.
        export_ms: The same of the export.
        fp32_ms: The same of a float32 export for the same runtime, beside an int8 export.
    """

    images: int
    same_verdict: int
    by: str
    size: int
    torch_ms: float
    export_ms: float
    fp32_ms: float | None = None

    def describe(self, machine: str) -> tuple[str, ...]:
        """Describe the use in short lines; ``machine`` is the processor that it was measured on, with its features."""
        lines = [
            self.describe_verdicts(),
            f"{self.size / 1e6:.1f} MB; {self.export_ms:.0f} ms an image, "
            f"{_compared(self.export_ms, self.torch_ms)} torch with {self.torch_ms:.0f} ms ({machine})",
        ]
        if self.fp32_ms is None:
            return tuple(lines)
        found = f"int8 is {_compared(self.export_ms, self.fp32_ms)} fp32 with {self.fp32_ms:.0f} ms on this CPU"
        if self.export_ms >= self.fp32_ms:
            found += ": export fp32 for such a CPU"
        if "AVX2" in machine.split() and "VNNI" not in machine.split():
            found += "; it has no VNNI, the instructions for int8"
        return (*lines, found)

    def describe_verdicts(self) -> str:
        """Describe the agreement of the verdicts in one line."""
        return f"same verdict on {self.same_verdict} of {self.images} images, by {self.by}"


def measure_practice(
    engines: Mapping[str, Engine],
    photos: Iterable[Photo],
    total: int,
    defective: Defective,
    *,
    by: str,
    size: int,
    report: ProgressReport = unreported,
) -> Practice:
    """Inspect images by several engines in turn, so that other load on the machine affects all of them alike.

    Args:
        engines: ``torch``, ``export``, and beside an int8 export ``fp32``.
        photos: The images.
        total: Their number, as far as they can be read.
        defective: Rule of the verdicts.
        by: The same in words.
        size: Bytes of the export.
        report: Called after every image.
    """
    times: dict[str, list[float]] = {name: [] for name in engines}
    same = count = 0
    for count, photo in enumerate(photos, start=1):
        verdicts = {}
        for name, engine in engines.items():
            started = time.perf_counter()
            found = _localized(engine, photo)
            times[name].append(1000 * (time.perf_counter() - started))
            verdicts[name] = defective(photo, found)
        same += verdicts["torch"] == verdicts["export"]
        report(Progress(stage="timing", done=count, total=total))
    taken = {f"{name}_ms": round(median(values), 2) for name, values in times.items()}
    return Practice(images=count, same_verdict=same, by=by, size=size, **taken)


def _localized(engine: Engine, photo: Photo) -> LocalizedImage:
    if isinstance(engine, ImageEngine):
        return engine.localize_image(photo.image, photo.small)
    return engine.localize(photo.small[np.newaxis]).image(0)


def _compared(own: float, other: float) -> str:
    """Compare two times in words that another's name follows."""
    return f"{other / own:.1f} times as fast as" if own <= other else f"{own / other:.1f} times as slow as"
