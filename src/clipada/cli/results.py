"""Results of an evaluation in the terminal: metrics, and the kinds of defects that are found and missed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clipada.cli.tables import print_kinds_table, print_metrics_table
from clipada.cli.terminal import out_console, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clipada.evaluation.evaluate import Evaluation
    from clipada.evaluation.kinds import Decisions, KindCount

NAMED_KINDS = 3
"""Number of kinds of defects that are named as missed most often."""

GOOD_PARTS = "HELD-OUT-GOOD-PARTS"
"""Placeholder for images of good parts that were not trained on."""


def print_metrics(result: Evaluation) -> None:
    """Print what was left out, a table for each map, and how to read them."""
    for failure in result.failures:
        say(f"left out: {failure.error}", style="yellow")
    for note in result.notes:
        say(f"note: {note}", style="yellow")
    for index, categories in enumerate(result.passes):
        print_metrics_table(out_console, categories, _title(result, index))
    if result.protocol["fusion"] == "mean" and len(result.passes) > 1:
        print_metrics_table(out_console, result.categories, "mean of the passes (counts)")
    for category, kinds in result.by_kind.items():
        figures = (
            f"{kind} I-AUC {_percent(one.image_auroc)}, sPRO {_percent(one.spro)}" for kind, one in kinds.items()
        )
        say(f"{category}: {'; '.join(figures)}")
    say(f"percent; {result.protocol['masks']}")


def _title(result: Evaluation, index: int) -> str:
    """Name a map: the pass that it is of; a memory has a single map, and no passes."""
    if result.protocol.get("top_share") is not None:
        return "map of the memory"
    return "pass 0 (coarse)" if index == 0 else f"pass {index} (refined)"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def print_decisions(decisions: Decisions, rate: float) -> None:
    """Print the kinds of defects that are found and missed, and the false alarms.

    Args:
        decisions: The decisions on the test images.
        rate: The false-alarm rate that their thresholds allow, 0..1.
    """
    title = f"decisions at the calibrated thresholds, which allow {100 * rate:g} % false alarms"
    print_kinds_table(out_console, decisions.kinds, title)
    for line in describe_decisions(decisions.kinds):
        say(line)


def describe_decisions(kinds: Sequence[KindCount]) -> list[str]:
    """Say in a line each what was found, what is missed most, and how many false alarms there were."""
    defects = [kind for kind in kinds if not kind.is_good]
    good = [kind for kind in kinds if kind.is_good]
    lines = []
    if defects:
        lines.append(f"found {sum(kind.found for kind in defects)} of {sum(kind.images for kind in defects)} defects")
    if missed := sorted((kind for kind in defects if kind.missed), key=lambda kind: -kind.missed):
        named = [f"{kind.missed} of {kind.images} {kind.category} {kind.kind}" for kind in missed[:NAMED_KINDS]]
        more = f", and {len(missed) - NAMED_KINDS} more kinds" if len(missed) > NAMED_KINDS else ""
        lines.append(f"missed: {', '.join(named)}{more}")
    if good:
        alarms, images = sum(kind.false_alarms for kind in good), sum(kind.images for kind in good)
        lines.append(f"false alarms: {alarms} of {images} good parts")
    return lines


def say_not_calibrated(run: Path, lacking: str) -> None:
    """Say on standard error that a run has no thresholds, what it lacks for that reason, and the command that helps."""
    say(f"not calibrated, so {lacking}: run clipada calibrate {run} {GOOD_PARTS}", style="yellow")


def false_alarms(database: str, run: Path) -> dict[Path, str | None]:
    """Return the images of a run's rejected alarms with their groups, and print how many there are."""
    from clipada.commands.history import open_history
    from clipada.runs import read_run

    with open_history(database) as history:
        found = history.false_alarms(read_run(run).model_sha256)
    say(f"{len(found)} images of rejected alarms in {history.place}")
    return found
