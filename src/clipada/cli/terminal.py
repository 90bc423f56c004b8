"""Output of every command: standard output, standard error, progress, tables of metrics."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from clipada.config import RuntimeConfig
from clipada.types import Progress, ProgressReport

if TYPE_CHECKING:
    from clipada.data import Dataset
    from clipada.evaluation.evaluate import Evaluation
    from clipada.inspection.record import Record

out_console = Console(markup=False, emoji=False, highlight=False)
error_console = Console(stderr=True, markup=False, emoji=False, highlight=False)
console = Console(stderr=True, quiet=not RuntimeConfig.is_rank_zero(), markup=False, emoji=False, highlight=False)


def say(text: str, style: str | None = None) -> None:
    """Print to standard error, no line broken, so that paths and commands can be copied from a log."""
    console.print(text, style=style, soft_wrap=True)


@dataclass
class Counts:
    """Numbers of inspected images, of defective ones, of those that are not inspectable, and of files left out."""

    inspected: int = 0
    defective: int = 0
    not_inspectable: int = 0
    unreadable: int = 0
    calibrated: bool = False

    def __str__(self) -> str:
        found = f", {self.defective} defective" if self.calibrated else ""
        refused = f", not inspectable {self.not_inspectable}" if self.not_inspectable else ""
        return f"inspected {self.inspected} images{found}, left out {self.unreadable}{refused}"


def print_record(record: Record, counts: Counts) -> None:
    """Print a record as a JSON line on standard output and count it; name a file that says nothing on a part."""
    _print_line(json.dumps(record))
    if "error" in record:
        counts.unreadable += 1
        say(f"left out: {record['error']}", style="yellow")
    else:
        counts.inspected += 1
        counts.defective += bool(record["defective"])
        counts.calibrated = record["calibration"] is not None
        if record["decision"] == "not_inspectable":
            counts.not_inspectable += 1
            say(f"not inspectable: {record['path']}: {record['input_reason']}", style="yellow")


def read_dataset(data: Path, layout: str, categories: list[str] | None) -> Dataset:
    """Load a data set and print what it holds."""
    from clipada.data import load_dataset

    dataset = load_dataset(data, layout, categories)  # type: ignore[arg-type]
    for line in dataset.describe():
        say(line)
    return dataset


def print_metrics(result: Evaluation) -> None:
    """Print what was left out, a table for each map, and how to read them."""
    from clipada.evaluation.metrics import mean_metrics
    from clipada.report import metrics_table

    for failure in result.failures:
        say(f"left out: {failure.error}", style="yellow")
    for note in result.notes:
        say(f"note: {note}", style="yellow")
    for index, categories in enumerate(result.passes):
        title = "pass 0 (coarse)" if index == 0 else f"pass {index} (refined)"
        out_console.print(metrics_table(categories, mean_metrics(categories.values()), title))
    if result.protocol["fusion"] == "mean" and len(result.passes) > 1:
        mean = mean_metrics(result.categories.values())
        out_console.print(metrics_table(result.categories, mean, "mean of the passes (counts)"))
    say(f"percent; {result.protocol['masks']}")


@contextmanager
def progress(*texts: str) -> Iterator[Bars]:
    """Show a bar with further columns on standard error; nothing if that is no terminal."""
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *map(TextColumn, texts)]
    with _live(*columns, TimeElapsedColumn(), TimeRemainingColumn()) as bar:
        yield bar


@contextmanager
def working(text: str) -> Iterator[None]:
    """Show a spinner on standard error while a step without a known length runs; nothing if that is no terminal."""
    with _live(SpinnerColumn(), TextColumn("{task.description}"), transient=True) as bar:
        bar.add_task(text, total=None)
        yield


@contextmanager
def stages() -> Iterator[ProgressReport]:
    """Show a bar for every stage of a command; if there is no terminal, print a line at every quarter of each."""
    tasks: dict[str, TaskID] = {}
    with progress("{task.fields[note]}") as bar:

        def show(now: Progress) -> None:
            note = now.note or (f"epoch {now.epoch}, loss {now.losses[-1]:.3f}" if now.losses else "")
            if now.stage not in tasks:
                tasks[now.stage] = bar.add_task(now.stage, total=now.total, note=note)
            bar.update(tasks[now.stage], completed=now.done, note=note)
            if not console.is_terminal and now.done * 4 // now.total > (now.done - 1) * 4 // now.total:
                say(f"{now.stage}: {now.done} of {now.total}{', ' * bool(note)}{note}")

        yield show


def _live(*columns: ProgressColumn, transient: bool = False) -> Bars:
    """Return a live display on standard error that leaves standard output as it is.

    Rich redirects standard output to the display's own stream by default: ``clipada predict ... > FILE``, typed in a
    terminal, would write its lines to the terminal and nothing into the file.
    """
    return Bars(*columns, console=console, transient=transient, disable=not console.is_terminal, redirect_stdout=False)


def _print_line(text: str) -> None:
    """Print a line on standard output; if a bar may be on the same terminal, print it above the bar, unbroken."""
    if console.is_terminal and _is_same_terminal():
        console.print(text, soft_wrap=True)
    else:
        sys.stdout.write(text + "\n")


def _is_same_terminal() -> bool:
    """Return True if standard output and standard error are one terminal."""
    try:
        return os.ttyname(sys.stdout.fileno()) == os.ttyname(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):  # a file, a closed stream, a stream of another program, or Windows
        return False
