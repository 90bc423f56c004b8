"""The command ``start``."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipada.cli.errors import again, continuing
from clipada.cli.options import Backbone, Channels, Depth, Device, Page, TrainingWorkers
from clipada.cli.results import GOOD_PARTS, describe_decisions
from clipada.cli.terminal import confirm, console, say, stages
from clipada.config import EMBEDDED_BACKBONE, CalibrationConfig, Preset, RuntimeConfig, StartConfig
from clipada.config.image_rules import DEFAULT_RULES, ImageRules

if TYPE_CHECKING:
    from clipada.commands.start import Started
    from clipada.data import Dataset
    from clipada.training.start_plan import StartPlan

ORIGINS = {
    "named": "as you named it",
    "cache": "found in the local cache",
    "hub": "downloaded once from the Hugging Face hub",
    "embedded": "comes with clipada: none was named, none is in the cache, and the hub cannot be reached",
    "recorded": "as before",
}
"""Sources of a backbone, in words."""

GOOD_PHOTO, GOOD_PHOTOS = "photo of good parts", "photos of good parts"

NEXT_RATES = (StartConfig.rates[-1], 0.05, 0.01)
"""False-alarm rates that are offered next, where the guarantee is weaker: the first is the cheapest one."""


def start(
    photos: Annotated[
        Path, typer.Argument(metavar="PHOTOS", help="Photos of good parts; folders of defects are optional.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="RUN", help="The run folder; by default runs/ and the product's name.")
    ] = None,
    backbone: Backbone = None,
    preset: Annotated[
        str | None, typer.Option(help="By default quick or accurate, as photos and machine allow.")
    ] = None,
    defects: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Photos of known defects to learn from, as for train; they are not tested on."
        ),
    ] = None,
    channels: Channels = None,
    depth: Depth = None,
    page: Page = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing; without a terminal nothing is asked.")] = False,
    device: Device = RuntimeConfig.device,
    workers: TrainingWorkers = RuntimeConfig.workers,
) -> None:
    """Go from photos to a verdict: look at the photos, train, set the threshold, test, and report."""
    from clipada.commands import start as command

    def shown(plan: StartPlan) -> None:
        for line in _describe_plan(plan):
            say(line)
        if not yes and console.is_terminal and sys.stdin.isatty() and not confirm("Go on?"):
            say("nothing was written")
            raise typer.Exit

    runtime = RuntimeConfig(device=device, workers=workers)
    with continuing(f"{again()} continues"), stages() as show:
        result = command.start(
            photos,
            out,
            backbone=backbone,
            preset=preset,  # type: ignore[arg-type]
            defects=defects,
            rules=ImageRules(channels=channels or DEFAULT_RULES.channels, depth=depth, page=page),
            runtime=runtime,
            report=show,
            on_plan=shown,
        )
    for line in (*_describe_result(result), *_next_steps(result)):
        say(line)


def _describe_plan(plan: StartPlan) -> Iterator[str]:
    """Say what was found and what will be done, in a line each."""
    from clipada.types.words import counted

    yield from (f"found: {line}" for line in _describe_found(plan.found))
    yield f"backbone: {plan.backbone}, {ORIGINS[plan.origin]}"
    if plan.backbone == EMBEDDED_BACKBONE:
        yield "  it has seen drawn images only; one that has seen photographs usually finds more (--backbone FOLDER):"
        yield "  on a machine with internet: hf download facebook/dinov2-small --local-dir dinov2-small"
    images, preset = counted(len(plan.dataset.train), GOOD_PHOTO, GOOD_PHOTOS), _describe_preset(plan.preset)
    time = "" if plan.seconds is None or plan.preset != "accurate" else f", about {_minutes(plan.seconds)}"
    if plan.trained:
        yield f"trained on: {images}, by an earlier call; preset {plan.preset}{preset}"
    else:
        yield f"train on: {images}; preset {plan.preset}{preset}{time}"
    yield from (f"learn from: {line}" for line in plan.defects.describe())
    hold = "held" if plan.trained else "hold"
    if plan.guarantee is not None:
        rate, share = 100 * plan.guarantee.false_alarm_rate, " of each product" * (plan.guarantee.per is not None)
        held_out = counted(len(plan.held_out), GOOD_PHOTO, GOOD_PHOTOS)
        yield f"{hold} out: {held_out}, which set the threshold: at most {rate:g} % false alarms{share}"
    else:
        yield f"{hold} out: none, as they are too few; those trained on set the threshold themselves"
    tested = counted(len(plan.dataset.test) - plan.defective - plan.learned, GOOD_PHOTO, GOOD_PHOTOS)
    yield (
        f"test on: {tested}, and {counted(plan.defective, 'photo')} of defects"
        if plan.defective
        else f"test on: nothing, as there are no {'other ' * bool(plan.learned)}photos of defects"
    )
    yield f"run folder: {plan.folder}"


def _describe_found(found: Dataset) -> Iterator[str]:
    """Say how many photos there are of each product, before they are shared out, and what was left out."""
    from clipada.types.words import counted

    for name in found.categories:
        photos = found.of(name).samples
        kinds = Counter(photo.defect for photo in photos if photo.anomalous)
        good = counted(len(photos) - kinds.total(), GOOD_PHOTO, GOOD_PHOTOS)
        defects = f", {kinds.total()} of defects: {', '.join(f'{count} {kind}' for kind, count in kinds.items())}"
        yield f"{name}: {good}{defects if kinds else ', none of defects'}"
    notes = ((note.category, note.text) for note in found.notes if not note.splits)
    yield from (text if name is None else f"{name}: {text}" for name, text in notes)


def _describe_preset(preset: Preset) -> str:
    return {
        "quick": " (a memory of good parts)",
        "accurate": " (a memory of good parts, and a filter that learns from synthetic defects)",
    }.get(preset, "")


def _minutes(seconds: float) -> str:
    return "a minute" if seconds < 90 else f"{seconds / 60:.0f} minutes"


def _describe_result(result: Started) -> Iterator[str]:
    """Say what was learned, what is guaranteed, what is not, and what was found and missed."""
    from clipada.report.card import describe_learned

    yield f"trained in {result.run.training.seconds:.0f} s; the run is in {result.run.folder}"
    yield from describe_learned(result.run.training)
    yield from _guarantee(result)
    if result.kinds:
        yield from describe_decisions(result.kinds)
    elif result.plan.defective:
        yield "not known: which defects are found, since without a threshold no part is called defective"
    else:
        yield "not known: which defects are found; add photos of some in a folder `defective` beside `good`, and repeat"
    yield f"the report is {result.report}"


def _guarantee(result: Started) -> Iterator[str]:
    """Say which false-alarm rate is kept, or why none is."""
    from clipada.report.guarantee import guarantee

    calibration = result.calibration
    if calibration is not None and calibration.folds:
        yield f"threshold: {guarantee(calibration)}"
    elif calibration is not None:
        settings, images = calibration.settings, len(calibration.images)
        yield (
            f"guaranteed: of further good parts like these, {100 * settings.false_alarm_rate:g} % or less are called "
            f"defective, with {100 * settings.confidence:g} % confidence (from {images} photos)"
        )
        lacking = [name for name in calibration.group_sizes if name not in calibration.groups]
        if lacking:
            yield f"  but not of {', '.join(lacking)} alone: too few photos, so the threshold of all products applies"
    elif result.obstacle is not None:
        yield f"not calibrated: {result.obstacle}"
        yield "nothing is guaranteed: scores rank parts, but no part is called good or defective"
    else:
        yield "nothing is guaranteed: scores rank parts, but no part is called good or defective yet"


def _next_steps(result: Started) -> Iterator[str]:
    """Name the commands that go on from here: without a threshold first the one that sets it with the fewest photos."""
    run = result.run.folder
    calibration = result.calibration
    kept = 1.0 if calibration is None or calibration.folds else calibration.settings.false_alarm_rate
    steps = [f"clipada predict {run} NEW-PHOTOS --out out"]
    better = [_calibration(run, rate) for rate in NEXT_RATES if rate < kept]
    steps = [*better[:1], *steps, *better[1:]] if calibration is None else [*steps, *better]
    steps.append(f"clipada serve {run}   # a page to drop photos on")
    yield from (f"{'next:' if place == 0 else '':5} {step}" for place, step in enumerate(steps))


def _calibration(run: Path, rate: float) -> str:
    """Return the command that sets a threshold for a false-alarm rate, and the photos that it needs."""
    from clipada.calibration import needed_images

    count = needed_images(CalibrationConfig(false_alarm_rate=rate))
    command = f"clipada calibrate {run} {GOOD_PARTS} --false-alarm-rate {rate:g}"
    return f"{command}   # at most {100 * rate:g} % false alarms, with {count} photos that are not among these"
