"""What every command speaks through: standard output, standard error, progress, tables of metrics."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from clipada.config import RuntimeConfig

if TYPE_CHECKING:
    from clipada.data import Dataset
    from clipada.evaluation.evaluate import Evaluation
    from clipada.inspection.batch import Record

out_console = Console(markup=False, emoji=False, highlight=False)
error_console = Console(stderr=True, markup=False, emoji=False, highlight=False)
console = Console(stderr=True, quiet=not RuntimeConfig.is_rank_zero(), markup=False, emoji=False, highlight=False)


def say(text: str, style: str | None = None) -> None:
    """Print to standard error, no line broken, so that paths and commands can be copied from a log."""
    console.print(text, style=style, soft_wrap=True)


@dataclass
class Counts:
    """How many images were inspected, how many of them are defective, and how many files were left out."""

    inspected: int = 0
    defective: int = 0
    unreadable: int = 0
    calibrated: bool = False

    def __str__(self) -> str:
        found = f", {self.defective} defective" if self.calibrated else ""
        return f"inspected {self.inspected} images{found}, left out {self.unreadable}"


def tell(record: Record, counts: Counts) -> None:
    """Print a record as a JSON line on standard output and count it; name a file that cannot be read."""
    sys.stdout.write(json.dumps(record) + "\n")
    if "error" in record:
        counts.unreadable += 1
        say(f"left out: {record['error']}", style="yellow")
    else:
        counts.inspected += 1
        counts.defective += bool(record["defective"])
        counts.calibrated = record["calibration"] is not None


def read_dataset(data: Path, layout: str, categories: list[str] | None) -> Dataset:
    """The data set, said aloud."""
    from clipada.data import load_dataset

    dataset = load_dataset(data, layout, categories)  # type: ignore[arg-type]
    for line in dataset.describe():
        say(line)
    return dataset


def print_metrics(result: Evaluation) -> None:
    """What was left out, a table for each map, and how to read them."""
    from clipada.evaluation.metrics import mean_metrics
    from clipada.report import metrics_table

    for failure in result.failures:
        say(f"left out: {failure.error}", style="yellow")
    for index, categories in enumerate(result.passes):
        title = "pass 0 (coarse)" if index == 0 else f"pass {index} (refined)"
        out_console.print(metrics_table(categories, mean_metrics(categories.values()), title))
    if result.protocol["fusion"] == "mean" and len(result.passes) > 1:
        mean = mean_metrics(result.categories.values())
        out_console.print(metrics_table(result.categories, mean, "mean of the passes (counts)"))
    say(f"percent; {result.protocol['masks']}")


@contextmanager
def progress(*texts: str) -> Iterator[Progress]:
    """A bar on standard error with further columns; nothing where there is no terminal."""
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *map(TextColumn, texts)]
    times = (TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, *times, console=console, disable=not console.is_terminal) as bar:
        yield bar


@contextmanager
def stages() -> Iterator[Callable[..., None]]:
    """A bar for every stage of a longer job; where there is no terminal, a line at every quarter of each."""
    tasks: dict[str, TaskID] = {}
    with progress("{task.fields[note]}") as bar:

        def show(stage: str, done: int, total: int, note: str = "") -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total, note=note)
            bar.update(tasks[stage], completed=done, note=note)
            if not console.is_terminal and done * 4 // total > (done - 1) * 4 // total:
                say(f"{stage}: {done} of {total}{', ' * bool(note)}{note}")

        yield show
