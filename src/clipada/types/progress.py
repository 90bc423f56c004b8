"""Progress of a command, and who receives it: the caller, a notebook, or nobody."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

REFRESH_SECONDS = 0.1
"""Time between two pictures of a bar in a notebook."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Position of a running command, reported after every step.

    Attributes:
        stage: Current activity, e.g. ``"training"``.
        done: Finished steps of this stage.
        total: Steps of this stage in all.
        epoch: The epoch of a training step, counted from 1, of ``epochs``; 0 for other stages.
        losses: The loss of each pass in a training step, coarse first.
        images_per_second: Throughput of a training, over all devices.
        note: Further words to show.
    """

    stage: str
    done: int
    total: int
    epoch: int = 0
    epochs: int = 0
    losses: tuple[float, ...] = ()
    images_per_second: float = 0.0
    note: str = ""

    @property
    def end_of_epoch(self) -> bool:
        """True for the last step of an epoch, or of a stage without epochs."""
        return self.done * max(1, self.epochs) % self.total == 0

    @property
    def details(self) -> str:
        """Words beside the count: the note, the latest losses, and the throughput."""
        losses = " / ".join(f"{loss:.4f}" for loss in self.losses)
        rate = f"{self.images_per_second:.1f} images/s" if self.images_per_second else ""
        return ", ".join(filter(None, (self.note, f"loss {losses}" if losses else "", rate)))


ProgressReport = Callable[[Progress], None]
"""Receives every ``Progress`` of a command."""


class Ignored:
    """A receiver that does nothing with what it is called with: the default of optional callbacks."""

    def __call__(self, *_: object) -> None:
        """Do nothing."""

    def __repr__(self) -> str:
        return "ignored"


class NotebookBars:
    """The report of a command that was given none: a bar for each stage in a notebook, nothing anywhere else."""

    def __init__(self) -> None:
        self._bars: dict[str, tuple[Any, Progress, float]] = {}

    def __call__(self, now: Progress) -> None:
        """Draw the bar of the stage, at most every ``REFRESH_SECONDS`` and at its end."""
        if not in_notebook():
            return
        handle, before, drawn = self._bars.get(now.stage, (None, now, 0.0))
        if before.done > now.done:  # the stage runs once more
            handle = None
        at_end, clock = now.done >= now.total, time.monotonic()
        if handle is None or at_end or clock - drawn >= REFRESH_SECONDS:
            handle, drawn = _drawn(handle, bar_html(now)), clock
        if at_end:
            self._bars.pop(now.stage, None)
        else:
            self._bars[now.stage] = handle, now, drawn

    def __repr__(self) -> str:
        return "unreported"


ignored = Ignored()
unreported = NotebookBars()


def labeled(report: ProgressReport, label: str) -> ProgressReport:
    """Return a report whose stages begin with a label."""
    return lambda now: report(replace(now, stage=f"{label}: {now.stage}"))


def in_notebook() -> bool:
    """Return True in a notebook's kernel, where a bar can be drawn; nothing is imported to find out."""
    shell = sys.modules.get("IPython")
    running = None if shell is None else shell.get_ipython()
    return running is not None and hasattr(running, "kernel")


def bar_html(now: Progress) -> str:
    """Draw a bar as HTML, with its count and its details in words."""
    details = f", {now.details}" if now.details else ""
    words = html.escape(f"{now.stage}: {now.done} of {now.total}{details}")
    return f'<progress value="{now.done}" max="{now.total}" style="width: 16em"></progress> {words}'


def _drawn(handle: Any, content: str) -> Any:
    """Show the bar in the running cell, or draw it again where it is; return the handle to it."""
    from IPython.display import HTML, display

    if handle is None:
        return display(HTML(content), display_id=True)  # type: ignore[no-untyped-call]
    handle.update(HTML(content))  # type: ignore[no-untyped-call]
    return handle
