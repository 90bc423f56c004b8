"""Go from photos to a verdict: find, hold out, train, calibrate, evaluate, report."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from clipada.calibration import Calibration
from clipada.commands.calibrate import calibrate
from clipada.commands.evaluate import evaluate
from clipada.commands.predict import predict_outcomes
from clipada.commands.report import REPORT, report_run
from clipada.commands.train import require_training, train
from clipada.config import (
    CalibrationConfig,
    Config,
    CrossFitConfig,
    EngineOptions,
    PredictConfig,
    Preset,
    RuntimeConfig,
    StartConfig,
)
from clipada.config.image_rules import DEFAULT_RULES, ImageRules
from clipada.data import Dataset
from clipada.errors import CalibrationError, ClipAdaError
from clipada.evaluation.kinds import KindCount
from clipada.files import lock_folder, write_text
from clipada.report import read_scores, read_verdicts
from clipada.runs import SCORES, Run, load_calibration, read_run
from clipada.runs.metrics import recorded_kinds
from clipada.training.start_plan import AskedStart, StartPlan, plan_start
from clipada.types import Progress, ProgressReport, ignored, unreported

VERDICTS = "first-verdicts.jsonl"
"""File in the run folder with the verdicts that the report shows where there are no photos of defects."""

LOCK = ".start.lock"
"""File in the run folder that keeps a second start out."""


@dataclass(frozen=True, kw_only=True)
class Started:
    """Result of a start.

    Attributes:
        plan: The plan it followed.
        run: The trained run.
        calibration: Its thresholds; ``None`` if there are none.
        obstacle: The reason why there are none, and the remedy.
        kinds: Found and missed defects by product and kind, and false alarms; empty without photos of defects or
            without a calibration.
        report: The HTML report.
    """

    plan: StartPlan
    run: Run
    calibration: Calibration | None = field(repr=False)
    obstacle: str | None
    kinds: tuple[KindCount, ...]
    report: Path


def start(
    photos: Path | str,
    out: Path | str | None = None,
    *,
    backbone: str | None = None,
    preset: Preset | None = None,
    defects: Path | str | None = None,
    rules: ImageRules = DEFAULT_RULES,
    runtime: RuntimeConfig | None = None,
    settings: StartConfig | None = None,
    report: ProgressReport = unreported,
    on_plan: Callable[[StartPlan], object] = ignored,
) -> Started:
    """Go from photos of good parts to a calibrated run and a report, with settings that fit photos and machine.

    If it is interrupted, the next call continues; if it is finished, nothing is trained again, and a calibration or an
    evaluation that is there is kept.

    Args:
        photos: A data set in any layout that ``train`` knows; photos of defects are optional.
        out: The run folder; by default ``runs/NAME`` with the name of the only product, or of the folder of several.
        backbone: Hub name or folder; by default the best one in the local cache or on the hub, else ``"nano"``.
        preset: Any preset; by default ``"quick"`` or ``"accurate"``, as photos and machine allow.
        defects: A folder with photos of known defects to learn from, as for ``train``; they are not tested on.
        rules: Rules by which the photos are read; the depth is found if it is left open. After an earlier call, the
            default of each stands for what it recorded.
        runtime: Devices and workers.
        settings: How photos are shared out and the preset is chosen.
        report: Called after every step.
        on_plan: Called with the plan before anything is written; it may raise.

    Raises:
        DatasetError: There are no photos of good parts, or no photo of a known defect can be used.
        ModuleNotFoundError: PyTorch is not installed.
        RunError: ``out`` holds something else, or a start of other photos or with other options.
        BackboneError: The backbone cannot be loaded.
        ConfigError: There is no such preset, or it has no memory and there are known defects.
    """
    require_training()
    runtime = runtime or RuntimeConfig()
    place = None if defects is None else str(Path(defects).resolve())
    asked = AskedStart(backbone=backbone, preset=preset, defects=place, rules=rules)
    plan = plan_start(photos, out, asked, runtime.device, settings or StartConfig())
    on_plan(plan)
    with lock_folder(plan.folder, LOCK):
        return _carry_out(plan, runtime, report)


def _carry_out(plan: StartPlan, runtime: RuntimeConfig, report: ProgressReport) -> Started:
    """Train, calibrate, evaluate and report, as far as this is not done yet."""
    plan.save()
    base = Config.preset(plan.preset).updated({"backbone.name": plan.backbone})
    config = replace(base, model=base.model.reading(plan.rules))
    known = plan.defects_folder
    run = train(plan.dataset, plan.folder, config, runtime=runtime, resume=True, report=report, defects=known)
    calibration, obstacle = _calibrate(plan, run, runtime, report)
    engine = EngineOptions(device=runtime.device)
    if plan.defective:
        if not _is_evaluated(run, plan.dataset):
            evaluate(run.folder, plan.dataset, workers=runtime.decoders, report=report, engine=engine)
        page = report_run(run.folder, workers=runtime.decoders, engine=engine).path
    else:
        verdicts = _inspect(plan, calibration, runtime, report)
        page = report_run(run.folder, verdicts, run.folder / REPORT, workers=runtime.decoders, engine=engine).path
    report(Progress(stage="reporting", done=1, total=1))
    run = read_run(run.folder)
    kinds = recorded_kinds(run.metrics) if plan.defective else ()
    return Started(plan=plan, run=run, calibration=calibration, obstacle=obstacle, kinds=kinds, report=page)


def _calibrate(
    plan: StartPlan, run: Run, runtime: RuntimeConfig, report: ProgressReport
) -> tuple[Calibration | None, str | None]:
    """Return the run's calibration, or ``None`` and the reason.

    It is set with the held-out photos; without any, with those that the memory was trained on, each compared with the
    others alone.
    """
    present, _ = load_calibration(run)
    if present is not None or (plan.guarantee is None and run.memory_sha256 is None):
        return present, None
    settings, crossed = plan.guarantee, None
    if settings is None:
        settings, crossed = CalibrationConfig(mode="marginal"), CrossFitConfig()
    device, workers = runtime.device, runtime.decoders
    try:
        found = calibrate(
            run.folder, plan.held_out, settings, cross_fit=crossed, workers=workers, report=report, device=device
        )
    except CalibrationError as error:
        return None, "; ".join(filter(None, (error.what, error.remedy)))
    return found.calibration, None


def _is_evaluated(run: Run, dataset: Dataset) -> bool:
    """Return True if the last evaluation of a run had all photos that are tested on now."""
    if run.metrics is None or not (run.folder / SCORES).is_file():
        return False
    scored = {str(part.path) for part in read_scores(run).scored}
    protocol = run.metrics["protocol"]
    unused = (*protocol.get("left_out", ()), *protocol.get("learned_defects", ()))
    left_out = {str(Path(path).absolute()) for path in unused}
    return {str(sample.path.absolute()) for sample in dataset.test} <= scored | left_out


def _inspect(plan: StartPlan, calibration: Calibration | None, runtime: RuntimeConfig, report: ProgressReport) -> Path:
    """Inspect the held-out photos, or those trained on if there are none, and keep the verdicts.

    Verdicts of an earlier call with the same thresholds are kept.
    """
    path = plan.folder / VERDICTS
    photos = plan.held_out or tuple(sample.path for sample in plan.dataset.train)
    if _are_inspected(path, photos, calibration):
        return path
    settings, engine = PredictConfig(workers=runtime.decoders), EngineOptions(device=runtime.device)
    lines: list[str] = []
    for outcome in predict_outcomes(plan.folder, photos, settings=settings, engine=engine):
        lines.append(json.dumps(outcome.record) + "\n")
        report(Progress(stage="inspecting", done=len(lines), total=len(photos)))
    write_text(path, "".join(lines))
    return path


def _are_inspected(path: Path, photos: Sequence[Path], calibration: Calibration | None) -> bool:
    """Return True if a file has a verdict with the present thresholds on each of some photos."""
    try:
        found = read_verdicts([path])
    except ClipAdaError:  # not written yet, or damaged
        return False
    decided = {part.calibration for part in found.scored} == {None if calibration is None else calibration.id}
    return decided and len(found.scored) + len(found.left_out) == len(photos)
