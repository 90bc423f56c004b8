"""Output of every command: standard output, standard error, and bars with the time that is left."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.progress import Progress as Bars
from rich.table import Column
from rich.text import Text

from clipada.config import RuntimeConfig

if TYPE_CHECKING:
    from clipada.data import Dataset
    from clipada.types import Progress, ProgressReport

out_console = Console(markup=False, emoji=False, highlight=False)
error_console = Console(stderr=True, markup=False, emoji=False, highlight=False)
console = Console(stderr=True, quiet=not RuntimeConfig.is_rank_zero(), markup=False, emoji=False, highlight=False)

SHOWN_STAGES = 6
"""Number of bars on the screen: those of earlier stages go."""

_shown: list[Bars] = []
"""The bars that are on the screen now."""


def say(text: str, style: str | None = None) -> None:
    """Print to standard error, no line broken, so that paths and commands can be copied from a log."""
    console.print(text, style=style, soft_wrap=True)


def is_read_by_person() -> bool:
    """Return True if standard output is a terminal: neither a file nor a pipe, whatever colors are forced."""
    try:
        return sys.stdout.isatty()
    except ValueError:  # closed
        return False


def print_line(line: str | Text) -> None:
    """Print a line on standard output; if a bar may be on the same terminal, print it above the bar, unbroken."""
    if console.is_terminal and _is_same_terminal():
        console.print(line, soft_wrap=True)
    elif isinstance(line, Text):
        out_console.print(line, soft_wrap=True)
    else:
        sys.stdout.write(line + "\n")


def confirm(question: str) -> bool:
    """Ask for a yes on standard error, with yes as the default; bars go while it waits for the answer."""
    for bar in _shown:
        bar.stop()
    try:
        return typer.confirm(question, default=True, err=True)
    finally:
        for bar in _shown:
            bar.start()


def read_dataset(data: Path, layout: str, categories: list[str] | None) -> Dataset:
    """Load a data set and print what it holds."""
    from clipada.data import load_dataset

    dataset = load_dataset(data, layout, categories)  # type: ignore[arg-type]
    for line in dataset.describe():
        say(line)
    return dataset


@contextmanager
def progress(*texts: str) -> Iterator[Bars]:
    """Show a bar with further columns on standard error, as wide as the terminal; nothing if that is no terminal."""
    columns = [
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        _Count(),
        *map(TextColumn, texts),
        _Time(table_column=Column(no_wrap=True)),
    ]
    with _live(*columns, expand=True) as bar:
        yield bar


@contextmanager
def working(text: str) -> Iterator[None]:
    """Show a spinner on standard error while a step without a known length runs; nothing if that is no terminal."""
    with _live(SpinnerColumn(), TextColumn("{task.description}"), transient=True) as bar:
        bar.add_task(text, total=None)
        yield


@contextmanager
def stages() -> Iterator[ProgressReport]:
    """Show a bar for every stage of a command; if there is no terminal, print a line at every quarter or epoch of each.

    A bar without an end is shown until the first stage begins, for example while a backbone is loaded.
    """
    with progress("{task.fields[note]}") as bar:
        tasks = {"": bar.add_task("starting", total=None, note="")}

        def show(now: Progress) -> None:
            if "" in tasks:
                bar.remove_task(tasks.pop(""))
            if now.stage not in tasks:
                tasks[now.stage] = bar.add_task(now.stage, total=now.total, note="")
                for earlier in list(tasks.values())[:-SHOWN_STAGES]:
                    bar.update(earlier, visible=False)
            bar.update(tasks[now.stage], completed=now.done, total=now.total, note=now.details)
            if not console.is_terminal and _is_milestone(now):
                place = f"{now.done} of {now.total}" if not now.epochs else f"epoch {now.epoch} of {now.epochs}"
                say(f"{now.stage}: {place}{', ' * bool(now.details)}{now.details}")

        yield show


def _is_milestone(now: Progress) -> bool:
    """Return True at the end of an epoch, or of a quarter of a stage without epochs."""
    return now.end_of_epoch if now.epochs else now.done * 4 // now.total > (now.done - 1) * 4 // now.total


class _Count(MofNCompleteColumn):
    """Number of finished steps of those in all; nothing while neither is known."""

    def render(self, task: Task) -> Text:
        return super().render(task) if task.total is not None or task.completed else Text()


class _Time(ProgressColumn):
    """Time that is left, by the speed of the last half minute; before it is known, and at the end, the time taken."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        left = None if task.finished else task.time_remaining
        seconds = int((task.finished_time if task.finished else task.elapsed) or 0) if left is None else int(left)
        minutes, hours = seconds // 60, seconds // 3600
        clock = f"{hours}:{minutes % 60:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"
        return Text(clock if left is None else f"{clock} left", style="progress.remaining")


@contextmanager
def _live(*columns: ProgressColumn, transient: bool = False, expand: bool = False) -> Iterator[Bars]:
    """Show a live display on standard error that leaves standard output as it is.

    Rich redirects standard output to the display's own stream by default: ``clipada predict ... > FILE``, typed in a
    terminal, would write its lines to the terminal and nothing into the file.
    """
    disable = not console.is_terminal
    bars = Bars(*columns, console=console, transient=transient, expand=expand, disable=disable, redirect_stdout=False)
    with bars:
        _shown.append(bars)
        try:
            yield bars
        finally:
            _shown.remove(bars)


def _is_same_terminal() -> bool:
    """Return True if standard output and standard error are one terminal."""
    try:
        return os.ttyname(sys.stdout.fileno()) == os.ttyname(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):  # a file, a closed stream, a stream of another program, or Windows
        return False
