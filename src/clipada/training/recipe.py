"""The whole training on one page: split, fit, memory, validation, record.

The fit is CLIP-ADA's (section 4.4.1). Around it: a validation split; prototypes of normal patches
(``models.prototypes``), found after the fit or, with ``model.prototypes_first``, before it; or a memory of good parts
with its filter (``training.memory``); and the level that the maps of normal images stay below.
"""

from __future__ import annotations

import time
from dataclasses import replace

from clipada.config import Config, RuntimeConfig
from clipada.devices import find_device, machine
from clipada.engines.tiled import with_view
from clipada.engines.torch import TorchEngine
from clipada.evaluation.metrics import mean_metrics
from clipada.evaluation.normal_level import normal_level, normal_peaks
from clipada.files import ensure_folder
from clipada.images.alignment import Alignment
from clipada.models.backbones import with_defaults
from clipada.models.clip_ada import ClipAda, build_model
from clipada.models.prototypes import find_prototypes
from clipada.randomness import derived_generator
from clipada.runs import Run, Training, read_run, save_run, write_defect_sha256s, write_training_sha256s
from clipada.runs.alignment import write_alignment
from clipada.runs.inputs import write_input_check
from clipada.training.alignment import choose_references
from clipada.training.batches import with_image_depth
from clipada.training.inputs import InputRecorder
from clipada.training.loop import FitResult, fit, launch, with_precision
from clipada.training.memory import MemoryBuilder, MemoryRecord
from clipada.training.resume import TrainingJob
from clipada.training.split import select_share, split_validation
from clipada.training.tokens import TokenReader
from clipada.training.validation import validate
from clipada.training.views import with_decided_aspect, with_decided_view
from clipada.types import ProgressReport, Sample, unreported


class Recipe:
    """One training, from the images to the run folder. Every device runs it; the first one writes.

    Args:
        job: Settings, images and run folder.
        runtime: Devices and workers.
        report: Called after every step.
    """

    def __init__(self, job: TrainingJob, runtime: RuntimeConfig, report: ProgressReport = unreported) -> None:
        self.job = job
        self.config = job.config
        self.runtime = runtime
        self.report = report
        self.samples: list[Sample] = []
        self.held_out: list[Sample] = []
        self.memory = MemoryRecord()
        self.alignment: Alignment | None = None

    def train(self) -> Run:
        """Train one model on the normal images of all categories and write its run folder.

        Raises:
            DatasetError: There are no normal images to train on, or none can be read.
            BackboneError: The backbone cannot be loaded.
            RunError: The run folder cannot be written, its checkpoint is damaged, or the training diverged.
        """
        self.job.dataset.require_training()
        if not self.job.started:
            self.config = self.decided()
            self.job = replace(self.job, config=self.config)
        model = build_model(self.config)
        if model.backbone.commit is not None and not self.job.started:
            self.config = self.config.updated({"backbone.revision": model.backbone.commit})
            self.job = replace(self.job, config=self.config)
        config, folder = self.config, self.job.folder

        chosen = select_share(self.job.dataset.train, config)
        self.samples, self.held_out = split_validation(chosen, config)

        fabric = launch(config.training, self.runtime, ensure_folder(folder))
        if fabric.is_global_zero and not self.job.started:
            self.job.save(folder)
        started = time.monotonic()

        if config.model.prototypes_first:
            model = self.add_prototypes(model)
        fitted = FitResult(losses=(), images_per_second=0.0, failures=())
        if config.training.epochs:
            fitted = fit(fabric, model, self.samples, config, folder, runtime=self.runtime, report=self.report)

        if fabric.is_global_zero:
            model, peaks = self.completed(model)
            validation = self.validate(model)
            record = self.record(fitted, validation, peaks, time.monotonic() - started, fabric.device.type)
            write_training_sha256s(folder, (sample.path for sample in chosen))
            if self.job.defects.samples:
                write_defect_sha256s(folder, self.job.defects.sha256s)
            save_run(folder, model, config, record)
        fabric.barrier()
        return read_run(folder)

    def decided(self) -> Config:
        """Return the settings with those decided that were left open: by backbone, device and images."""
        config = with_precision(with_defaults(self.config), find_device(self.runtime.device))
        config = with_image_depth(config, self.job.dataset.train, self.runtime.decoders)
        config = with_decided_view(config, self.job.dataset.train)
        fixed = self.config.model.image_size is not None
        return config if fixed else with_decided_aspect(config, self.job.dataset.train)

    def completed(self, model: ClipAda) -> tuple[ClipAda, dict[str, list[float]]]:
        """Return the trained model with its memory, and by category the peaks of normal images' maps."""
        if not self.config.memory.rows:
            model = self.add_prototypes(model) if model.memory is None else model
            return model, self.normal_peaks(model)
        reader = TokenReader(model.backbone, self.runtime.cache_gigabytes)
        workers, regions = self.runtime.decoders, self.job.regions
        self.alignment = choose_references(self.samples, self.config, workers)
        if self.alignment is not None:
            write_alignment(self.job.folder, self.alignment)
        builder = MemoryBuilder(model, self.config, reader, workers, self.report, regions, self.alignment)
        model = model.with_head(builder.build(self.samples, self.job.defects))
        write_input_check(self.job.folder, builder.inputs.products(TorchEngine(model)))
        self.memory = builder.record
        return model, builder.peaks

    def add_prototypes(self, model: ClipAda) -> ClipAda:
        """Return the model with prototypes of the training images, if the settings ask for any."""
        if not self.config.model.prototypes:
            return model
        memory = find_prototypes(
            model.backbone,
            self.samples,
            self.config.model.prototypes,
            self.config.model.size,
            derived_generator(self.config.training.seed, "prototypes"),
            self.runtime.decoders,
            self.report,
            rules=self.config.model.rules,
        )
        return model.with_memory(memory)

    def validate(self, model: ClipAda) -> dict[str, dict[str, float | None]]:
        """Score held-out images with synthetic anomalies; return the mean metrics of each pass."""
        if not self.held_out:
            return {}
        workers = self.runtime.decoders
        passes = validate(model, self.held_out, self.config, workers, self.job.regions, self.alignment)
        return {name: mean_metrics(metrics.values()).to_dict() for name, metrics in passes.items()}

    def normal_peaks(self, model: ClipAda) -> dict[str, list[float]]:
        """Measure the peaks of the maps of training images, by category, and record the images for the input check."""
        plain, inputs = TorchEngine(model), InputRecorder()
        plain.regions = self.job.regions
        engine = with_view(plain, self.config.inspection)
        peaks = normal_peaks(engine, self.samples, self.config.scoring, self.runtime.decoders, inputs.add)
        write_input_check(self.job.folder, inputs.products(engine))
        return peaks

    def record(
        self,
        fitted: FitResult,
        validation: dict[str, dict[str, float | None]],
        peaks: dict[str, list[float]],
        seconds: float,
        device: str,
    ) -> Training:
        """Describe the training for its run folder."""
        dataset = self.job.dataset
        return Training(
            categories={name: sum(sample.category == name for sample in self.samples) for name in dataset.categories},
            layout=dataset.layout,
            data=str(dataset.root.resolve()),
            unreadable=tuple(dict.fromkeys(str(one.path) for one in (*fitted.failures, *self.memory.failures))),
            seconds=round(seconds, 1),
            images_per_second=round(fitted.images_per_second, 2),
            losses=fitted.losses,
            machine=machine(device),
            normal_level=normal_level([peak for some in peaks.values() for peak in some]),
            normal_levels={name: normal_level(some) for name, some in peaks.items()},
            coverage=self.memory.coverage,
            recall=self.memory.recall,
            copies=self.memory.copies,
            tiles=self.memory.tiles,
            filtered=self.memory.filtered,
            defects=self.memory.defects,
            defects_data="" if self.job.defects_folder is None else str(self.job.defects_folder),
            validation=validation,
        )
