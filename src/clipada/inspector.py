"""The facade: images in, predictions out. The only place that keeps state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

import numpy as np

from clipada.bundle import Run, load_model, read_run
from clipada.config import ScoringConfig
from clipada.data import read_batches
from clipada.engines import Engine
from clipada.images import read_rgb, resize, restore_map
from clipada.scoring import anomaly_map, find_regions, image_score
from clipada.types import Failure, Image, Map, Prediction

DEFAULT_THRESHOLD = 0.5
"""Map value above which a pixel belongs to a region: where the model finds an anomaly likelier than not."""


class Inspector:
    """Inspects images with a trained run.

    Args:
        engine: Makes raw anomaly maps.
        scoring: How maps are smoothed and scored.
        threshold: Map value, 0..1, above which a pixel belongs to a region.
        run: The run the engine was loaded from.
    """

    def __init__(
        self, engine: Engine, scoring: ScoringConfig, threshold: float = DEFAULT_THRESHOLD, run: Run | None = None
    ) -> None:
        self.engine = engine
        self.scoring = scoring
        self.threshold = threshold
        self.run = run

    @classmethod
    def load(
        cls,
        run: Path | str,
        *,
        backbone: str | None = None,
        device: str = "auto",
        threshold: float = DEFAULT_THRESHOLD,
    ) -> Self:
        """Load a run folder.

        Args:
            run: The folder that ``clipada train`` wrote.
            backbone: Where the backbone lies now, if not where it lay at training.
            device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
            threshold: Map value, 0..1, above which a pixel belongs to a region.

        Raises:
            RunError: The folder holds no whole run.
            BackboneError: The backbone is missing or not the one the run was trained on.
        """
        from clipada.engines.pytorch import TorchEngine

        description = read_run(Path(run))
        engine = TorchEngine(load_model(description, backbone), device)
        return cls(engine, description.config.scoring, threshold, description)

    def inspect(self, image: Path | str | bytes | Image) -> Prediction:
        """Inspect one image.

        Args:
            image: A file, its bytes, or RGB values ``(H, W, 3)`` uint8.

        Returns:
            Score, anomaly map and regions in the image's own geometry.

        Raises:
            ImageError: The image cannot be read.
        """
        source = Path(image) if isinstance(image, str) else image
        pixels = source if isinstance(source, np.ndarray) else read_rgb(source)
        small = resize(pixels, (self.engine.image_size,) * 2)
        raw = self.engine.localise_passes(small[np.newaxis])[-1, 0]
        return self._predict(raw, pixels, source if isinstance(source, Path) else None)

    def inspect_files(
        self, paths: Iterable[Path], *, batch_size: int = 8, workers: int = 2
    ) -> Iterator[Prediction | Failure]:
        """Inspect many files in order, in batches; an unreadable file yields a ``Failure`` and the rest goes on."""
        for batch in read_batches(paths, self.engine.image_size, batch_size, workers, keep_originals=True):
            yield from batch.failures
            if not batch.paths:
                continue
            raw = self.engine.localise_passes(batch.images)[-1]
            for path, image, one in zip(batch.paths, batch.originals, raw, strict=True):
                yield self._predict(one, image, path)

    def _predict(self, raw: Map, image: Image, path: Path | None) -> Prediction:
        """The prediction for a raw map, ``(S, S)``, in the image's own geometry."""
        smooth = anomaly_map(raw, self.scoring)
        restored = restore_map(smooth, image.shape[:2])
        return Prediction(
            score=image_score(smooth, self.scoring),
            image=image,
            anomaly_map=restored,
            regions=find_regions(restored, self.threshold),
            threshold=self.threshold,
            path=path,
        )
