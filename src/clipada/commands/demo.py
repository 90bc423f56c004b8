"""Run the demo: from nothing to verdicts on three procedural products, offline."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from clipada.calibration import Calibration, require_images
from clipada.commands.calibrate import calibrate
from clipada.commands.evaluate import evaluate
from clipada.commands.predict import predict
from clipada.commands.report import report_run
from clipada.commands.train import require_training, train
from clipada.config import CalibrationConfig, Config, DemoConfig, PredictConfig, RuntimeConfig
from clipada.data import Dataset, load_dataset
from clipada.data.demo import RECIPE, write_demo, write_demo_held_out
from clipada.errors import DatasetError
from clipada.evaluation.evaluate import Evaluation
from clipada.files import lock_folder
from clipada.inspection.batch import forget_unfinished
from clipada.runs import Run
from clipada.types import Progress, ProgressReport, Verdict, unreported

DATA = "data"
HELD_OUT = "held-out"
RUN = "run"
PICTURES = "pictures"
PAGE = "report.html"


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Results of the demo.

    Attributes:
        data: The images, in the MVTec AD layout.
        pictures: Overlays of one part of every kind.
        run: The trained model.
        calibration: Its thresholds, set from held-out good parts.
        evaluation: Its metrics on the test images.
        predictions: Its verdicts on the parts in ``pictures``.
        page: The report.
    """

    data: Path
    pictures: Path
    run: Run
    calibration: Calibration = field(repr=False)
    evaluation: Evaluation = field(repr=False)
    predictions: tuple[Verdict, ...] = field(repr=False)
    page: Path


def demo(
    out: Path | str = DemoConfig.out,
    config: Config | None = None,
    *,
    parts: DemoConfig | None = None,
    runtime: RuntimeConfig | None = None,
    report: ProgressReport = unreported,
) -> Demo:
    """Draw three products, train one model on their good parts, calibrate, find defects it never saw, and report.

    If interrupted, the next call continues; if finished, images and model are kept. The same seeds
    give the same figures on the same machine.

    Args:
        out: The folder for all of it.
        config: Settings of the training; the ``demo`` preset by default.
        parts: How many parts of each product, their seed, and the false-alarm rate.
        runtime: Devices and workers.
        report: Called after every step.

    Raises:
        DatasetError: Other images are in the way.
        ModuleNotFoundError: PyTorch is not installed; nothing was drawn.
        RunError: A run with other settings is in the way.
        BackboneError: The backbone cannot be loaded.
        CalibrationError: There are too few held-out parts for the false-alarm rate.
    """
    folder, parts = Path(out), parts or DemoConfig()
    guarantee = CalibrationConfig(false_alarm_rate=parts.false_alarm_rate, per="product")
    require_images(parts.held_out, guarantee)
    _require_own(folder)
    require_training()
    with lock_folder(folder):
        return _demo(folder, config or Config.preset("demo"), parts, guarantee, runtime or RuntimeConfig(), report)


def _demo(
    folder: Path,
    config: Config,
    parts: DemoConfig,
    guarantee: CalibrationConfig,
    runtime: RuntimeConfig,
    report: ProgressReport,
) -> Demo:
    """Run every step of the demo."""
    write_demo(folder / DATA, parts, report)
    dataset = load_dataset(folder / DATA)
    run = train(dataset, folder / RUN, config, runtime=runtime, resume=True, report=report)
    device, workers = runtime.device, runtime.decoders
    write_demo_held_out(folder / HELD_OUT, parts, report)
    calibrated = calibrate(  # forced, as a short training is a demo, too; it replaces no thresholds but its own
        run.folder, folder / HELD_OUT, guarantee, force=True, report=report, device=device, workers=workers
    )
    evaluation = evaluate(run.folder, dataset, report=report, device=device, workers=workers)
    predictions = _predicted(run, dataset, folder / PICTURES, device, workers, report)
    page = report_run(run.folder, out=folder / PAGE, device=device, workers=workers).path
    report(Progress(stage="reporting", done=1, total=1))
    return Demo(
        data=folder / DATA,
        pictures=folder / PICTURES,
        run=run,
        calibration=calibrated.calibration,
        evaluation=evaluation,
        predictions=predictions,
        page=page,
    )


def _require_own(folder: Path) -> None:
    """Raise ``DatasetError`` if the folder holds files, but not the images that a demo draws first."""
    names = sorted(path.name for path in folder.iterdir() if path.name[0] != ".") if folder.is_dir() else []
    if names and not (folder / DATA / RECIPE).exists():
        raise DatasetError(
            f"{folder} is in the way",
            expected="a new or empty folder, or that of an earlier demo",
            got=", ".join(names[:4]) + (", ..." if len(names) > 4 else ""),
            remedy="choose another --out",
        )


def _predicted(
    run: Run, dataset: Dataset, out: Path, device: str, workers: int, report: ProgressReport
) -> tuple[Verdict, ...]:
    """Inspect the first test image of every kind and write its pictures."""
    firsts = {(sample.category, sample.defect): sample.path for sample in reversed(dataset.test)}
    predictions: list[Verdict] = []
    forget_unfinished(out)
    settings = PredictConfig(workers=workers)
    for result in predict(run.folder, sorted(firsts.values()), out, settings, device=device):
        if isinstance(result, Verdict):
            predictions.append(result)
        report(Progress(stage="predicting", done=len(predictions), total=len(firsts)))
    return tuple(predictions)
