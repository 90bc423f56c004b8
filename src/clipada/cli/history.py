"""The command ``history``: stored verdicts and operators' feedback."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipada.config import HistoryConfig, Word
from clipada.errors import did_you_mean
from clipada.files import atomic_write

if TYPE_CHECKING:
    from clipada.history.store import History
    from clipada.types import Decision

history_app = typer.Typer(help="List, confirm or reject, export and prune stored verdicts.", no_args_is_help=True)

Database = Annotated[str, typer.Option(metavar="URL", help="The database that `clipada predict --database` wrote.")]
Number = Annotated[int, typer.Argument(metavar="ID", help="Id of a verdict, as `clipada history list` prints it.")]
Reason = Annotated[str, typer.Option(help="The reason, in a few words.")]


@history_app.command("list", epilog="Example: clipada history list --defective --limit 50")
def list_entries(
    database: Database = HistoryConfig.database,
    defective: Annotated[bool | None, typer.Option("--defective/--good", help="Only these verdicts.")] = None,
    not_inspectable: Annotated[
        bool, typer.Option("--not-inspectable", help="Only images unlike all training images, with the reason.")
    ] = False,
    word: Annotated[Word | None, typer.Option(help="Only those with this latest feedback.")] = None,
    group: Annotated[str | None, typer.Option(help="Only those of this group.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Only those of this time or later, in local time.")] = None,
    until: Annotated[datetime | None, typer.Option(help="Only those before this time, in local time.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Largest number of verdicts.")] = HistoryConfig.listed,
) -> None:
    """Print the newest verdicts: id, time, verdict, score, p-value, feedback, reason, image.

    The reason is that of the feedback, else that of an image that is not inspectable.
    """
    from clipada.commands import history as command
    from clipada.history.store import VerdictFilter
    from clipada.inspection.record import DISTRIBUTIONS

    decision: Decision | None = "not_inspectable" if not_inspectable else None
    chosen = VerdictFilter(defective=defective, decision=decision, word=word, group=group, since=since, until=until)
    with command.open_history(database) as history:
        for entry in history.entries(chosen, limit=limit):
            verdict = (entry.decision or "-").replace("_", " ")
            feedback = {True: "confirmed", False: "rejected", None: "-"}[entry.confirmed]
            reason = " ".join((entry.reason or entry.input_reason or "-").split())
            values = (entry.columns[name] for name in DISTRIBUTIONS)
            shares = ("-" if value is None else f"{value:.4f}" for value in values)
            cells = (entry.id, entry.time, verdict, *shares, feedback, reason, entry.path or "-")
            typer.echo("\t".join(map(str, cells)))
        if group is not None and group not in (known := history.groups()):
            typer.echo(f"no verdict is of group {group!r}. {did_you_mean(group, known) or ''}".rstrip(), err=True)


@history_app.command(epilog='Example: clipada history confirm 17 --reason "crack"')
def confirm(number: Number, reason: Reason = "", database: Database = HistoryConfig.database) -> None:
    """Confirm that a verdict was right."""
    from clipada.commands import history as command

    with command.open_history(database) as history:
        history.record_feedback(number, confirmed=True, reason=reason)
        _say_effect(history, number, confirmed=True)


@history_app.command(epilog='Example: clipada history reject 17 --reason "only dust"')
def reject(
    number: Number,
    reason: Annotated[str, typer.Option(help="The reason, in a few words.")],
    database: Database = HistoryConfig.database,
) -> None:
    """Reject a verdict that was wrong."""
    from clipada.commands import history as command

    with command.open_history(database) as history:
        history.record_feedback(number, confirmed=False, reason=reason)
        _say_effect(history, number, confirmed=False)


@history_app.command(epilog="Example: clipada history export verdicts.csv")
def export(
    out: Annotated[Path | None, typer.Argument(metavar="[OUT]", help="A CSV file; standard output by default.")] = None,
    database: Database = HistoryConfig.database,
) -> None:
    """Write every verdict with its latest feedback as CSV."""
    from clipada.commands import history as command

    with command.open_history(database) as history:
        if out is None:
            history.export_csv(sys.stdout)
            return
        with atomic_write(out) as aside, aside.open("w", encoding="utf-8", newline="") as file:
            count = history.export_csv(file)
    typer.echo(f"{count} verdicts in {out}", err=True)


@history_app.command("false-alarms", epilog="Example: clipada history false-alarms --database sqlite:///history.db")
def false_alarms(database: Database = HistoryConfig.database) -> None:
    """Print the kept images of rejected alarms, which `clipada calibrate --rejected` uses."""
    from clipada.commands import history as command
    from clipada.history.store import VerdictFilter

    with command.open_history(database) as history:
        alarms = list(history.entries(VerdictFilter(defective=True, word="rejected")))
    for entry in alarms:
        if entry.kept:
            typer.echo(entry.kept)
    lost = sum(1 for entry in alarms if not entry.kept)
    if lost:
        typer.echo(f"{lost} more have no kept image: inspect with --keep-images defective", err=True)


@history_app.command(epilog="Example: clipada history prune --days 90")
def prune(
    days: Annotated[int, typer.Option(min=0, help="Delete verdicts older than this many days.")],
    database: Database = HistoryConfig.database,
) -> None:
    """Delete old verdicts with their feedback and kept images; those still queued for a sink stay."""
    from clipada.commands import history as command

    with command.open_history(database) as history:
        count = history.prune(command.days_ago(days))
    typer.echo(f"deleted {count} verdicts", err=True)


@history_app.command(epilog="Example: clipada history waiting")
def waiting(database: Database = HistoryConfig.database) -> None:
    """Print the queue of each sink: verdicts, time of the oldest, failed attempts in a row, sink, last error."""
    from clipada.commands import history as command

    with command.open_history(database) as history:
        for sink in history.waiting():
            error = " ".join((sink.error or "-").split())
            typer.echo("\t".join(map(str, (sink.verdicts, sink.oldest, sink.failures, sink.sink, error))))


@history_app.command(epilog="Example: clipada history abandon https://mes.example/verdicts --first")
def abandon(
    sink: Annotated[
        str, typer.Argument(metavar="SINK", help="Name of a sink, as `clipada history waiting` prints it.")
    ],
    first: Annotated[bool, typer.Option("--first", help="Only the oldest verdict.")] = False,
    database: Database = HistoryConfig.database,
) -> None:
    """Drop the queue of a sink that was removed, or that always refuses a verdict. The verdicts stay stored."""
    from clipada.commands import history as command

    with command.open_history(database) as history:
        count = history.abandon(sink, 1 if first else None)
    typer.echo(f"{count} verdicts will not be delivered to {sink}", err=True)


@history_app.command(epilog="Example: clipada history mended")
def mended(database: Database = HistoryConfig.database) -> None:
    """Restart the drift watch with the next verdict, after the cause of a drift was fixed."""
    from clipada.commands import history as command
    from clipada.history.drift import restart

    with command.open_history(database) as history:
        restart(history)


def _say_effect(history: History, number: int, *, confirmed: bool) -> None:
    """Print the meaning of feedback on a verdict that was no alarm, which is no false alarm when it is rejected."""
    found = history.find(number)
    if found is None or found[0].defective:
        return
    entry, _ = found
    if entry.decision == "not_inspectable":
        typer.echo(f"verdict {number} was no alarm: its image was not inspectable", err=True)
    elif entry.defective is None:
        typer.echo(f"verdict {number} was no alarm: it has no decision, as its run was not calibrated", err=True)
    elif not confirmed:
        text = "good: it now counts as a missed defect, and `clipada calibrate --rejected` does not use it"
        typer.echo(f"verdict {number} was no alarm but {text}", err=True)
