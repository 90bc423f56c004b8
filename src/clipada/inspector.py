"""The facade: images in, predictions out. The only place that keeps state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from clipada.bundle import Run, read_run
from clipada.config import EngineConfig, EngineName, EnginePrecision, ScoringConfig
from clipada.data import Batch, read_batches
from clipada.engines import Engine
from clipada.engines.choice import open_engine
from clipada.errors import ConfigError, ImageError, RunError
from clipada.images import read_rgb, resize, restore_map
from clipada.scoring import anomaly_map, find_regions, image_score, with_fused
from clipada.types import Failure, Image, Prediction

DEFAULT_THRESHOLD = 0.5
"""Map value above which a pixel belongs to a region: where the model finds an anomaly likelier than not."""


class Inspector:
    """Inspects images with a trained run.

    Args:
        engine: Makes raw anomaly maps.
        scoring: How maps are smoothed and scored.
        threshold: Map value, 0..1, above which a pixel belongs to a region.
        run: The run the engine was loaded from.
        engine_name: The engine and its precision in words.

    Raises:
        ConfigError: The threshold is out of range.
    """

    def __init__(
        self,
        engine: Engine,
        scoring: ScoringConfig,
        threshold: float = DEFAULT_THRESHOLD,
        run: Run | None = None,
        engine_name: str = "",
    ) -> None:
        if not 0 <= threshold <= 1:
            raise ConfigError("the threshold is out of range", expected="0 to 1", got=str(threshold))
        self.engine = engine
        self.scoring = scoring
        self.threshold = threshold
        self.run = run
        self.engine_name = engine_name

    @classmethod
    def load(
        cls,
        run: Path | str,
        *,
        backbone: str | None = None,
        engine: EngineName | EngineConfig | None = None,
        device: str = "auto",
        precision: EnginePrecision | None = None,
        threshold: float | None = None,
    ) -> Self:
        """Load a run folder.

        Args:
            run: The folder that ``clipada train`` wrote.
            backbone: Where the backbone lies now, if not where it lay at training. An export needs none.
            engine: ``"torch"``, ``"onnx"`` or ``"openvino"``, or all its settings, which then count alone; by default
                torch if it is installed, else an export that is there.
            device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
            precision: ``"fp32"``, ``"bf16"``, or that of an export.
            threshold: Map value, 0..1, above which a pixel belongs to a region; the run's ``normal_level`` by default.

        Raises:
            RunError: The folder holds no whole run, or no such export.
            BackboneError: The backbone is missing or not the one the run was trained on.
            ConfigError: There is no such device or precision, or the threshold is out of range.
        """
        description = read_run(Path(run))
        if not isinstance(engine, EngineConfig):
            engine = EngineConfig(name=engine, device=device, precision=precision)
        opened, name = open_engine(description, engine, backbone)
        level = description.training.normal_level if threshold is None else threshold
        return cls(opened, description.config.scoring, level, description, name)

    def inspect(self, image: Path | str | bytes | Image) -> Prediction:
        """Inspect one image.

        Args:
            image: A file, its bytes, or RGB values ``(H, W, 3)`` uint8.

        Returns:
            Score, anomaly map and regions in the image's own geometry.

        Raises:
            ImageError: The image cannot be read, or the array is no RGB image.
            RunError: The run's training diverged: its maps are not finite.
        """
        source = Path(image) if isinstance(image, str) else image
        pixels = _checked(source) if isinstance(source, np.ndarray) else read_rgb(source)
        small = resize(pixels, (self.engine.image_size,) * 2)
        raw = self.engine.localise_passes(small[np.newaxis])[:, 0]
        return self._predict(raw, pixels, source if isinstance(source, Path) else None)

    def inspect_files(
        self, paths: Iterable[Path], *, batch_size: int = 8, workers: int = 2
    ) -> Iterator[Prediction | Failure]:
        """Inspect many files in batches: one result each, in order; for an unreadable file it is a ``Failure``."""
        done = 0
        for batch in read_batches(paths, self.engine.image_size, batch_size, workers, keep_originals=True):
            yield from self._results(batch, done)
            done += len(batch.paths) + len(batch.failures)

    def _results(self, batch: Batch, start: int) -> Iterator[Prediction | Failure]:
        """The results of a batch whose first file stood at ``start``, in the order of its files."""
        raw = self.engine.localise_passes(batch.images) if batch.paths else np.empty((0, 0), np.float32)
        failures, places = iter(batch.failures), {position: index for index, position in enumerate(batch.positions)}
        for position in range(start, start + len(batch.paths) + len(batch.failures)):
            if position in places:
                index = places[position]
                yield self._predict(raw[:, index], batch.originals[index], batch.paths[index])
            else:
                yield next(failures)

    def _predict(self, raw: NDArray[np.float32], image: Image, path: Path | None) -> Prediction:
        """The prediction for an image's raw maps, ``(passes, S, S)``, in the image's own geometry."""
        if not np.isfinite(raw).all():
            raise RunError(
                "the run gives an anomaly map that is not finite",
                expected="values 0..1",
                remedy="train again, with a lower training.learning_rate",
            )
        smooth = anomaly_map(with_fused(raw, self.scoring)[-1], self.scoring)
        restored = restore_map(smooth, image.shape[:2])
        return Prediction(
            score=image_score(smooth, self.scoring),
            image=image,
            anomaly_map=restored,
            regions=find_regions(restored, self.threshold),
            threshold=self.threshold,
            path=path,
        )


def _checked(pixels: Image) -> Image:
    """The array, if it is an RGB image."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ImageError(
            "cannot inspect the array",
            expected="RGB values (H, W, 3) uint8",
            got=f"{pixels.dtype} of shape {pixels.shape}",
            remedy="hand over the file or its bytes, which are converted",
        )
    return pixels
