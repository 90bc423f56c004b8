"""The inspector: images in, verdicts out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, Unpack

from clipada.calibration import PRODUCT, Calibration, group_of
from clipada.calibration.input_check import InputCheck
from clipada.config import BatchConfig, EngineKeywords, EngineOptions, InputCheckConfig, ScoringConfig
from clipada.data import Batch
from clipada.engines.selection import open_engine
from clipada.errors import ClipAdaError, ConfigError, ImageError
from clipada.inspection.decision import decided, input_reason, matching, read_for, scored_maps, try_read_for
from clipada.inspection.inference import Inference, inferred_batches, localized
from clipada.inspection.reading import Groups, ReadImage, Source
from clipada.runs import INPUT_CHECK, Run, load_calibration, read_run
from clipada.runs.hub import fetch_run, find_run
from clipada.runs.inputs import find_input_check
from clipada.scoring import find_regions, image_score
from clipada.types import Engine, Failure, LocalizedImage, ModelIdentity, Verdict, require_localized

DEFAULT_THRESHOLD = 0.5
"""Map value above which a pixel belongs to a region, for an engine without a run: an anomaly probability of 1/2."""


class Inspector:
    """Inspects images with a trained run.

    Args:
        engine: Makes raw anomaly maps.
        scoring: How maps are smoothed and scored.
        threshold: Map value, 0..1, above which a pixel belongs to a region. By default the calibration's, else the
            run's ``normal_levels`` for the product that the file's path names, else its ``normal_level``, else 1/2.
        run: The run the engine was loaded from.
        model: The model that the verdicts name.
        calibration: Thresholds and p-values; without one, verdicts have a score alone.
        input_check: Finds images that are unlike all training images; without one, ``inspectable`` is ``None``.

    Raises:
        ConfigError: The threshold is out of range.
        CalibrationError: The calibration is of another model.
    """

    def __init__(
        self,
        engine: Engine,
        scoring: ScoringConfig,
        threshold: float | None = None,
        run: Run | None = None,
        *,
        model: ModelIdentity | None = None,
        calibration: Calibration | None = None,
        input_check: InputCheck | None = None,
    ) -> None:
        self.input_check = input_check
        self._own_level = threshold is not None
        self._normal_levels = {} if run is None or self._own_level else run.training.normal_levels
        if threshold is None:
            threshold = DEFAULT_THRESHOLD if run is None else run.training.normal_level
        if not 0 <= threshold <= 1:
            raise ConfigError("the threshold is out of range", expected="0 to 1", got=str(threshold))
        self.engine = engine
        self.scoring = scoring
        self.threshold = threshold
        self.run = run
        self.model = model
        self.calibration = matching(calibration, model)

    def __repr__(self) -> str:
        what = f"run {self.run.label}, {self.engine_name}" if self.run else type(self.engine).__name__
        calibration = "not calibrated" if self.calibration is None else f"calibration {self.calibration.id}"
        return f"<Inspector: {what}, {' x '.join(map(str, self.engine.size))} pixels, {calibration}>"

    @property
    def engine_name(self) -> str:
        """Engine and precision in words; empty if the verdicts name no model."""
        return "" if self.model is None else self.model.engine

    @classmethod
    def load(
        cls,
        run: Path | str | Run,
        *,
        threshold: float | None = None,
        calibrated: bool = True,
        input_check: InputCheckConfig | None = None,
        **engine: Unpack[EngineKeywords],
    ) -> Self:
        """Load a run folder, or a run on the Hugging Face hub.

        Args:
            run: The folder that ``clipada train`` wrote, or the ``Run`` read from it; if there is no such folder, the
                ``owner/name`` of a run on the hub, as for ``from_pretrained``.
            threshold: Map value, 0..1, above which a pixel belongs to a region. By default the calibration's, else the
                run's own: ``normal_levels``, ``normal_level``.
            calibrated: True to use the run's ``calibration.json``, if it has one.
            input_check: Settings of the input check, which needs ``input-check.safetensors`` of the run.
            engine: As for ``EngineKeywords``: ``engine``, ``backbone``, ``device``, ``precision``, ...

        Raises:
            RunError: The folder holds no whole run, no such export, or not the files that it was sealed with.
            BackboneError: The backbone is missing or not the one the run was trained on.
            ConfigError: There is no such device or precision, or the threshold is out of range.
            CalibrationError: The run's ``calibration.json`` is damaged or of another model.
        """
        found = find_run(run)
        opened, name = open_engine(found, EngineOptions.of(**engine))
        calibration, found = load_calibration(found) if calibrated else (None, found)
        identity, scoring = found.identity(name), found.config.scoring
        check = find_input_check(found.path(INPUT_CHECK).parent, input_check)
        return cls(opened, scoring, threshold, found, model=identity, calibration=calibration, input_check=check)

    @classmethod
    def from_pretrained(cls, name: str, *, revision: str | None = None, **options: Any) -> Self:
        """Load a run from the Hugging Face hub, or a folder.

        Args:
            name: ``owner/name`` on the hub, or a folder. A run is downloaded once; without a network the newest
                download is used.
            revision: A branch, a tag or a commit on the hub; the newest by default.
            options: As for ``load``. The backbone is loaded by the name it was trained with unless one is given.

        Raises:
            RunError: There is no such run.
            ClipAdaError: As for ``load``.
        """
        if Path(name).is_dir():
            return cls.load(name, **options)
        return cls.load(replace(read_run(fetch_run(name, revision)), name=name), **options)

    @property
    def caveat(self) -> str | None:
        """Reason why the calibration guarantees nothing for these verdicts, if there is one."""
        return None if self.calibration is None or self.model is None else self.calibration.caveat(self.model.engine)

    def recalibrate(self, calibration: Calibration, run: Run | None = None) -> None:
        """Use another calibration from the next image on, and the run whose manifest names its file.

        Raises:
            CalibrationError: It is of another model.
        """
        self.calibration = matching(calibration, self.model)
        if run is not None and self.model is not None:
            self.run, self.model = run, replace(self.model, manifest_sha256=run.manifest_sha256)

    def score_threshold(self, path: Path) -> float | None:
        """Return the image score above which the image at ``path`` is defective; ``None`` without a calibration."""
        return None if self.calibration is None else self.calibration.limits(self._group(path)).score

    def region_level(self, group: str | None) -> float:
        """Return the map value above which a pixel of a group's images belongs to a region."""
        if self._own_level:
            return self.threshold
        if self.calibration is not None:
            return self.calibration.limits(group).pixel
        return self._normal_levels.get(group or "", self.threshold)

    def inspect(self, image: Source, group: str | None = None) -> Verdict:
        """Inspect one image.

        Args:
            image: A file, its bytes, RGB values ``(H, W, 3)`` uint8, or a Pillow image.
            group: The group whose thresholds apply; by default the one that the file's path names, if it is known. The
                name of a product also makes a model with a memory search that product's rows.

        Returns:
            Score, anomaly map and regions in the image's own geometry; with a calibration, p-value and decision.

        Raises:
            ImageError: The image cannot be read, the array is no RGB image, or it does not fit its product's reference.
            CalibrationError: The calibration has groups, but not this one.
            RunError: The run's training diverged: its maps are not finite.
        """
        started = time.perf_counter()
        read = read_for(image, group, self.engine, self.calibration)
        found = require_localized(localized(self.engine, [read], [group])[0])
        return self._verdict(found, read, started, group or self._group(read.path))

    def inspect_batch(
        self, images: Sequence[Source], groups: Groups | None = None, *, workers: int = BatchConfig.workers
    ) -> list[Verdict | ClipAdaError]:
        """Inspect several images at once.

        Args:
            images: As for ``inspect``.
            groups: The group of each; by default those that the files' paths name.
            workers: Threads that decode and score.

        Returns:
            One result each, in order; its error for an image that cannot be read or aligned, or whose group is unknown.

        Raises:
            RunError: The run's training diverged: its maps are not finite.
        """
        pairs = list(zip(images, groups or [None] * len(images), strict=True))
        with ThreadPoolExecutor(workers, thread_name_prefix="clipada-inspect") as pool:
            reads = list(pool.map(lambda one: try_read_for(one[0], one[1], self.engine, self.calibration), pairs))
            good = [index for index, read in enumerate(reads) if isinstance(read, ReadImage)]
            started = time.perf_counter()
            named = [pairs[index][1] for index in good]
            found = localized(self.engine, [one for one in reads if isinstance(one, ReadImage)], named)
            inference = time.perf_counter() - started

            def judge(index: int, read: ReadImage | ClipAdaError) -> Verdict | ClipAdaError:
                if isinstance(read, ClipAdaError):
                    return read
                group, one = pairs[index][1] or self._group(read.path), found[good.index(index)]
                if isinstance(one, ImageError):
                    return one
                return self._verdict(one, read, time.perf_counter() - inference, group)

            return list(pool.map(judge, range(len(reads)), reads))

    def inspect_files(
        self,
        paths: Iterable[Path | str],
        *,
        batch_size: int = BatchConfig.batch_size,
        workers: int = BatchConfig.workers,
    ) -> Iterator[Verdict | Failure]:
        """Inspect many files in batches: one result each, in order; a ``Failure`` for a file that cannot be read.

        One batch is inferred while the one before is scored and the next ones are decoded by ``workers`` threads.
        """
        done = 0
        for batch, inferred in inferred_batches(self.engine, map(Path, paths), batch_size, workers):
            yield from self._results(batch, inferred, done)
            done += len(batch.paths) + len(batch.failures)

    def _results(self, batch: Batch, inferred: Inference, start: int) -> Iterator[Verdict | Failure]:
        """Yield the results of a batch whose first file was at position ``start``, in the order of its files."""
        (found, inference), failures = inferred.result(), iter(batch.failures)
        places = {position: index for index, position in enumerate(batch.positions)}
        for position in range(start, start + len(batch.paths) + len(batch.failures)):
            if (index := places.get(position)) is None:
                yield next(failures)
            elif isinstance(one := found[index], ImageError):
                yield Failure(path=batch.paths[index], error=one)
            else:
                read = ReadImage.of_batch(batch, index)
                yield self._verdict(one, read, time.perf_counter() - inference, self._group(read.path))

    def _group(self, path: Path | None) -> str | None:
        """Read the group from a path: the product, unless a calibration defines groups otherwise."""
        return group_of(path, self.calibration.settings.per if self.calibration else PRODUCT) if path else None

    def _verdict(self, found: LocalizedImage, read: ReadImage, started: float, group: str | None) -> Verdict:
        """Make the verdict on an image from its maps and descriptor, in the image's own geometry."""
        smooth, restored, inside = scored_maps(self.engine, found, self.scoring, read, group)
        level = self.region_level(group)
        reason = None if self.input_check is None else input_reason(self.input_check, read, found, group)
        verdict = Verdict(
            score=image_score(smooth, self.scoring, found.view) if found.score is None else found.score,
            image=read.image,
            anomaly_map=restored,
            regions=find_regions(restored, level),
            threshold=level,
            path=read.path,
            image_sha256=read.sha256,
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            latency_ms=round(1000 * (time.perf_counter() - started), 3),
            model=self.model,
            group=group if group in self._normal_levels else None,
            inspectable=None if self.input_check is None else reason is None,
            input_reason=reason,
            placement=found.placement,
            inside=inside,
        )
        return verdict if self.calibration is None else decided(verdict, self.calibration, group)
