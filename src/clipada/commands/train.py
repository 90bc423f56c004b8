"""Train one model on the good parts of all products."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from clipada.config import Config, RuntimeConfig
from clipada.data import Dataset
from clipada.errors import RunError
from clipada.files import write_text
from clipada.report import model_card
from clipada.runs import CARD, PLAN, Run, writing_into
from clipada.training.resume import TrainingJob, prepare_training
from clipada.types import ProgressReport, unreported


def train(
    data: Path | str | Dataset | None,
    out: Path | str,
    config: Config | None = None,
    *,
    runtime: RuntimeConfig | None = None,
    resume: bool = False,
    report: ProgressReport = unreported,
) -> Run:
    """Train one model on the normal images of all categories and write its run folder.

    Args:
        data: A data set or its folder; ``None`` for that of the resumed training.
        out: The run folder; must be new or empty unless ``resume``.
        config: All settings; by default those of the resumed training, or the ``quick`` preset.
        runtime: Devices and workers.
        resume: Continue the unfinished training in ``out``; a finished one is returned as it is.
        report: Called after every step.

    Raises:
        DatasetError: There are no normal images to train on, or none can be read.
        BackboneError: The backbone cannot be loaded.
        RunError: ``out`` is in the way, what it recorded is damaged, or ``config`` or ``data`` contradict it.
    """
    return train_job(prepare_training(data, out, config, resume=resume), runtime, report)


def train_job(job: TrainingJob | Run, runtime: RuntimeConfig | None = None, report: ProgressReport = unreported) -> Run:
    """Train what ``prepare_training`` prepared, write the model card, and delete what only a resume needs.

    A kill in between is repaired by the next call with ``resume``: finishing a finished run changes nothing.
    """
    if isinstance(job, Run) or not RuntimeConfig.is_rank_zero():
        return _finished(job, runtime, report)
    created = not job.folder.exists()
    try:
        with writing_into(job.folder):
            if not job.started and (job.folder / PLAN).exists():
                raise RunError(
                    f"another training was started in {job.folder}",
                    expected="a new or empty folder",
                    remedy="choose another --out",
                )
            return _finished(job, runtime, report)
    finally:
        if created:
            with suppress(OSError):  # something was written there
                job.folder.rmdir()


def _finished(job: TrainingJob | Run, runtime: RuntimeConfig | None, report: ProgressReport) -> Run:
    """Train, unless that was done, and write the model card."""
    from clipada.training.checkpoint import CHECKPOINT
    from clipada.training.recipe import Recipe

    run = Recipe(job, runtime or RuntimeConfig(), report).train() if isinstance(job, TrainingJob) else job
    leftovers = [run.folder / name for name in (CHECKPOINT, PLAN)]
    if RuntimeConfig.is_rank_zero() and (any(map(Path.exists, leftovers)) or not (run.folder / CARD).exists()):
        write_text(run.folder / CARD, model_card(run))
        for path in leftovers:
            path.unlink(missing_ok=True)
    return run


def require_training() -> None:
    """Raise ``ModuleNotFoundError``, before any work, if a module that trains is not installed."""
    import clipada.training.recipe  # noqa: F401
