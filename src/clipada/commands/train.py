"""Train one model on the good parts of all products."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from clipada.config import Config, RuntimeConfig
from clipada.data import Dataset
from clipada.errors import ClipAdaError, RunError
from clipada.files import write_text
from clipada.report import model_card
from clipada.runs import CARD, CHECKPOINT, PLAN, Run, seal, writing_into
from clipada.training.resume import Configure, GivenKeywords, TrainingJob, prepare_training
from clipada.types import ProgressReport, ignored, unreported


def train(
    data: Path | str | Dataset | None,
    out: Path | str,
    config: Config | Configure | None = None,
    *,
    runtime: RuntimeConfig | None = None,
    resume: bool = False,
    layout: str = "auto",
    categories: Sequence[str] | None = None,
    report: ProgressReport = unreported,
    on_start: Callable[[TrainingJob | Run], object] = ignored,
    **given: Unpack[GivenKeywords],
) -> Run:
    """Train one model on the normal images of all categories and write its run folder.

    Args:
        data: A data set or its folder; ``None`` for that of the resumed training.
        out: The run folder; must be new or empty unless ``resume``.
        config: All settings, or a function that makes them from the recorded ones, ``None`` for a new training; by
            default those of the resumed training, or the preset ``DEFAULT_PRESET``.
        runtime: Devices and workers.
        resume: Continue the unfinished training in ``out``; a finished one is returned as it is.
        layout: The layout of ``data``: ``"auto"``, ``"mvtec"``, ``"visa"`` or ``"folder"``.
        categories: The categories to train on; all by default.
        report: Called after every step.
        on_start: Called with what will be trained, or with the finished run.
        given: ``defects``: a folder with photos of known defects, which a memory learns to find better: with masks,
            with boxes, or with neither; that of ``data`` itself takes its anomalous images. ``roi``: a file or folder
            with regions of interest, outside of which nothing is learned or scored.

    Raises:
        DatasetError: There are no normal images to train on, or none can be read; or no photo of a defect can be used.
        ConfigError: There are known defects, and no memory that they could add to.
        BackboneError: The backbone cannot be loaded.
        RunError: ``out`` already exists, what it recorded is damaged, or ``config`` or ``data`` contradict it.
    """
    return _train_job(
        prepare_training(data, out, config, resume=resume, layout=layout, categories=categories, **given),
        runtime or RuntimeConfig(),
        report,
        on_start,
    )


def _train_job(
    job: TrainingJob | Run,
    runtime: RuntimeConfig,
    report: ProgressReport,
    on_start: Callable[[TrainingJob | Run], object],
) -> Run:
    """Train what was prepared, or finish a training that was killed after its last step."""
    on_start(job)
    if isinstance(job, TrainingJob):
        from clipada.training.recipe import Recipe

        with _locked(job):
            run = Recipe(job, runtime, report).train()
            return _finish(run) if RuntimeConfig.is_rank_zero() else run
    if not RuntimeConfig.is_rank_zero() or _nothing_left(job.folder):
        return job
    with writing_into(job.folder):
        return _finish(job)


def _finish(run: Run) -> Run:
    """Seal a trained run, write its model card, and delete what only a resume needs; the plan last.

    A kill in between is repaired by the next call with ``resume``: what is done already may be done again.
    """
    if run.manifest is None and (run.folder / PLAN).exists():
        run = replace(run, manifest=seal(run.folder))
    write_text(run.folder / CARD, model_card(run))
    for name in (CHECKPOINT, PLAN):
        (run.folder / name).unlink(missing_ok=True)
    return run


def _nothing_left(folder: Path) -> bool:
    """Return True if a finished run has its model card, and nothing that only a resume needs."""
    return (folder / CARD).exists() and not any((folder / name).exists() for name in (CHECKPOINT, PLAN))


@contextmanager
def _locked(job: TrainingJob) -> Iterator[None]:
    """Keep other programs out of the run folder while it is written; a folder that stays empty is removed."""
    if not RuntimeConfig.is_rank_zero():
        yield
        return
    created = not job.folder.exists()
    try:
        with writing_into(job.folder):
            if not job.started and (job.folder / PLAN).exists():
                raise RunError(
                    f"another training was started in {job.folder}",
                    expected="a new or empty folder",
                    remedy="choose another --out",
                )
            with _refused_at_once(job):
                yield
    finally:
        if created:
            with suppress(OSError):  # something was written there
                job.folder.rmdir()


@contextmanager
def _refused_at_once(job: TrainingJob) -> Iterator[None]:
    """Leave a run folder as it was where a new training ends with an error before its first checkpoint.

    Such an error asks for other images or settings, with which nothing that was written could continue.
    """
    before = set(job.folder.iterdir())
    try:
        yield
    except ClipAdaError:
        if not job.started and not (job.folder / CHECKPOINT).exists():
            for path in set(job.folder.iterdir()) - before:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise


def require_training() -> None:
    """Raise ``ModuleNotFoundError``, before any work, if a module that trains is not installed."""
    import clipada.training.recipe  # noqa: F401
