"""The command ``predict``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipada.cli.errors import again, continuing, require_run_first
from clipada.cli.options import (
    BatchSize,
    Database,
    InputCheck,
    KeepImages,
    Mqtt,
    RunOrName,
    Secret,
    Webhook,
    Workers,
    takes_engine_options,
)
from clipada.cli.results import say_not_calibrated
from clipada.cli.terminal import is_read_by_person, progress, say, working
from clipada.cli.verdicts import Counts, Format, count_record, print_tally, print_verdicts
from clipada.config import EngineOptions, HistoryConfig, InputCheckConfig, Keep, PredictConfig, Shard, SinkConfig
from clipada.errors import ConfigError

MANY_TILES = 24
"""Tiles of an image above which the bar counts them."""

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from clipada.calibration import Calibration
    from clipada.inspection.batch import Outcome
    from clipada.inspection.record import Record
    from clipada.runs import Run


@takes_engine_options
def predict(
    run: RunOrName,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES...", help="Image files or folders.")],
    out: Annotated[
        Path | None, typer.Option(help="Also write overlays, 16-bit maps and predictions.jsonl here.")
    ] = None,
    form: Annotated[
        Format | None,
        typer.Option("--format", help="Of standard output; by default a table on a terminal, else JSON lines."),
    ] = None,
    skip_done: Annotated[
        bool, typer.Option("--skip-done", help="Continue in --out: skip images that have a verdict there.")
    ] = PredictConfig.skip_done,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Only the I-th of N shares of the images, e.g. 1/4, 2/4, 3/4, 4/4.")
    ] = str(PredictConfig.shard),
    ray: Annotated[
        bool, typer.Option("--ray", help="Inspect on Ray: the cluster that RAY_ADDRESS names, else this machine.")
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Map value above which a pixel is in a region; the run's own by default."),
    ] = PredictConfig.threshold,
    input_check: InputCheck = InputCheckConfig.rate,
    database: Database = None,
    keep_images: KeepImages = HistoryConfig.keep,
    webhook: Webhook = None,
    webhook_secret: Secret = None,
    mqtt: Mqtt = None,
    batch_size: BatchSize = PredictConfig.batch_size,
    workers: Workers = PredictConfig.workers,
    *,
    engine: EngineOptions,
) -> None:
    """Inspect images: a table on a terminal, one JSON line each for files and programs."""
    with working("starting"):
        from clipada.commands import predict as command
    settings = PredictConfig(
        threshold=threshold,
        input_check=InputCheckConfig(rate=input_check),
        batch_size=batch_size,
        workers=workers,
        skip_done=skip_done,
        shard=Shard.parse(shard),
    )
    history = _history(database, keep_images)
    sinks = SinkConfig(webhook=webhook, secret=webhook_secret, mqtt=mqtt)
    require_run_first(run, images, "predict RUN IMAGES")
    counts, tiles = Counts(), TileCounts()

    def started(found: Run, calibration: Calibration | None) -> None:
        counts.categories, counts.calibrated = set(found.training.categories), calibration is not None

    with continuing(_hint(out)), progress("{task.fields[rate]} images/s") as bar:
        task = bar.add_task("inspecting", total=None, rate="-")
        outcomes = command.predict_outcomes(
            run,
            images,
            out,
            settings,
            engine=engine,
            ray=ray,
            history=history,
            sinks=sinks,
            events=command.PredictionEvents(
                on_start=started,
                on_earlier=say,
                on_count=None if bar.disable else lambda total: bar.update(task, total=total),
                on_tiles=lambda done, total, skipped: bar.update(task, description=tiles.stage(done, total, skipped)),
            ),
        )
        with closing(outcomes):
            form = form or ("table" if is_read_by_person() else "jsonl")
            print_verdicts(_counted(outcomes, counts, bar), form, images)
    _print_end(counts, tiles, run, out)
    if counts.unreadable and not counts.inspected:
        raise typer.Exit(1)


def _print_end(counts: Counts, tiles: TileCounts, run: Path, out: Path | None) -> None:
    """Print the tally, whether there are verdicts, and the next command."""
    print_tally(counts)
    say(f"{counts}; pictures in {out}" if out else str(counts))
    if tiles.skipped:
        every = tiles.read + tiles.skipped
        say(f"not read: {tiles.skipped} of {every} tiles, which show nothing of the region of interest")
    if counts.inspected and not counts.calibrated:
        say_not_calibrated(run if run.exists() else Path("RUN"), "no part is called good or defective")
    if out is not None:
        say(f"next: clipada report {run} {out}")


@dataclass
class TileCounts:
    """Numbers of tiles of all images.

    Attributes:
        read: Those that were inspected.
        skipped: Those that show nothing of the region of interest.
    """

    read: int = 0
    skipped: int = 0

    def stage(self, done: int, total: int, skipped: int) -> str:
        """Count the tiles of an image once it is finished; say how far the inspection of one with many tiles is."""
        if done == total:
            self.read, self.skipped = self.read + total, self.skipped + skipped
        return f"inspecting, tile {done} of {total}" if done < total > MANY_TILES else "inspecting"


def _hint(out: Path | None) -> str:
    """Say how to go on after an interruption."""
    if out is None:
        return "with --out DIR, a prediction can be continued by --skip-done"
    return f"{again('--skip-done')} continues"


def _history(database: str | None, keep: Keep) -> HistoryConfig | None:
    """Return where verdicts are stored, if a database is named."""
    if database is not None:
        return HistoryConfig(database=database, keep=keep)
    if keep != "none":
        raise ConfigError("images are kept beside stored verdicts", got="no --database", remedy="pass --database URL")
    return None


def _counted(outcomes: Iterable[Outcome], counts: Counts, bar: Bars) -> Iterator[Record]:
    """Yield each record to be printed, then pass it on to whoever reads, count it, and move the bar."""
    started = time.monotonic()
    for count, outcome in enumerate(outcomes, start=1):
        yield outcome.record
        sys.stdout.flush()
        count_record(outcome.record, counts)
        bar.update(bar.task_ids[0], completed=count, rate=f"{count / (time.monotonic() - started):.1f}")
