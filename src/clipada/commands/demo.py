"""The demo: from nothing to verdicts on three procedural products, offline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from clipada.calibration import Calibration, require_images
from clipada.commands.calibrate import calibrate
from clipada.commands.evaluate import evaluate
from clipada.commands.predict import predict
from clipada.commands.report import report_run
from clipada.commands.train import train
from clipada.config import CalibrationConfig, Config, DemoConfig, PredictConfig, RuntimeConfig
from clipada.data import Dataset, load_dataset
from clipada.data.demo import PRODUCTS, write_demo, write_demo_held_out
from clipada.evaluation.evaluate import Evaluation
from clipada.inspection.batch import forget_unfinished
from clipada.runs import Run
from clipada.types import Sample, Verdict

if TYPE_CHECKING:
    from clipada.training import Progress

DATA = "data"
HELD_OUT = "held-out"
RUN = "run"
PICTURES = "pictures"
PAGE = "report.html"


@dataclass(frozen=True, kw_only=True)
class Step:
    """Where the demo stands.

    Attributes:
        stage: What it does: ``"drawing parts"``, ``"finding prototypes"``, ``"training"``,
            ``"drawing held-out parts"``, ``"calibrating"``, ``"evaluating"``, ``"predicting"`` or ``"reporting"``.
        done: Steps of this stage that are done, of ``total``.
        total: Steps of this stage in all.
        training: Where the training stands, while it lasts.
    """

    stage: str
    done: int
    total: int
    training: Progress | None = None


@dataclass(frozen=True, kw_only=True)
class Demo:
    """What the demo left behind.

    Attributes:
        data: The images, in the MVTec AD layout.
        pictures: Overlays of one part of every kind.
        run: The trained model.
        calibration: Its thresholds, set from held-out good parts.
        evaluation: Its metrics on the test images.
        predictions: What it says of the parts in ``pictures``.
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
    out: Path | str = "runs/demo",
    config: Config | None = None,
    *,
    parts: DemoConfig | None = None,
    runtime: RuntimeConfig | None = None,
    report: Callable[[Step], None] = lambda _: None,
) -> Demo:
    """Draw three products, train one model on their good parts, calibrate, find defects it never saw, and report.

    Interrupted, it goes on where it was when called again; finished, it keeps its images and its model. The same seeds
    give the same figures on the same machine.

    Args:
        out: The folder for all of it.
        config: Settings of the training; the ``demo`` preset by default.
        parts: How many parts of each product, their seed, and the false-alarm rate.
        runtime: Devices and workers.
        report: Called after every step.

    Raises:
        DatasetError: Other images are in the way.
        RunError: A run with other settings is in the way.
        BackboneError: The backbone cannot be loaded.
        CalibrationError: There are too few held-out parts for the false-alarm rate.
    """
    folder, parts = Path(out), parts or DemoConfig()
    promise = CalibrationConfig(false_alarm_rate=parts.false_alarm_rate, per="product")
    require_images(parts.held_out, promise)
    write_demo(folder / DATA, parts, lambda done, total: report(Step(stage="drawing parts", done=done, total=total)))
    dataset = load_dataset(folder / DATA)
    run = train(
        dataset,
        folder / RUN,
        config or Config.preset("demo"),
        runtime=runtime,
        resume=True,
        report=lambda now: report(Step(stage="training", done=now.step, total=now.steps, training=now)),
        on_prototypes=lambda done, total: report(Step(stage="finding prototypes", done=done, total=total)),
    )
    runtime = runtime or RuntimeConfig()
    hands = _Hands(device=runtime.device, workers=max(1, runtime.worker_count))
    calibration = _calibrated(run, folder / HELD_OUT, parts, promise, hands, report)
    evaluation = _evaluated(run, dataset, hands, report)
    predictions = _pictured(run, dataset, folder / PICTURES, hands, report)
    page = report_run(run.folder, out=folder / PAGE, **hands).path
    report(Step(stage="reporting", done=1, total=1))
    return Demo(
        data=folder / DATA,
        pictures=folder / PICTURES,
        run=run,
        calibration=calibration,
        evaluation=evaluation,
        predictions=predictions,
        page=page,
    )


class _Hands(TypedDict):
    """What looks at images after the training."""

    device: str
    workers: int


def _calibrated(
    run: Run,
    images: Path,
    parts: DemoConfig,
    promise: CalibrationConfig,
    hands: _Hands,
    report: Callable[[Step], None],
) -> Calibration:
    stage, number = "drawing held-out parts", count(1)
    write_demo_held_out(images, parts, lambda done, total: report(Step(stage=stage, done=done, total=total)))

    def show() -> None:
        report(Step(stage="calibrating", done=next(number), total=parts.held_out * len(PRODUCTS)))

    return calibrate(run.folder, images, promise, on_image=show, **hands).calibration


def _evaluated(run: Run, dataset: Dataset, hands: _Hands, report: Callable[[Step], None]) -> Evaluation:
    scored: list[Sample] = []

    def show(sample: Sample) -> None:
        scored.append(sample)
        report(Step(stage="evaluating", done=len(scored), total=len(dataset.test)))

    return evaluate(run.folder, dataset, on_image=lambda image: show(image.sample), **hands)


def _pictured(
    run: Run, dataset: Dataset, out: Path, hands: _Hands, report: Callable[[Step], None]
) -> tuple[Verdict, ...]:
    """The verdicts on the first test image of every kind."""
    firsts = {(sample.category, sample.defect): sample.path for sample in reversed(dataset.test)}
    predictions: list[Verdict] = []
    forget_unfinished(out)
    settings = PredictConfig(workers=hands["workers"])
    for result in predict(run.folder, sorted(firsts.values()), out, settings, device=hands["device"]):
        if isinstance(result, Verdict):
            predictions.append(result)
        report(Step(stage="predicting", done=len(predictions), total=len(firsts)))
    return tuple(predictions)
