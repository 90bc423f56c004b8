"""Scores of synthetic defects: a threshold that they do not exceed finds nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipada.calibration import Calibration, group_of
from clipada.config import BatchConfig, CalibrationCheckConfig, SynthesisConfig
from clipada.config.image_rules import rules_of
from clipada.inspection.inspector import Inspector
from clipada.inspection.reading import ReadImage, try_read
from clipada.types import Image, Verdict


def can_draw_defects() -> bool:
    """Return True if the packages that draw synthetic defects are installed: PyTorch and kornia."""
    return find_spec("torch") is not None and find_spec("kornia") is not None


def synthetic_scores(
    inspector: Inspector, paths: Sequence[Path], settings: CalibrationCheckConfig, batch_size: int
) -> NDArray[np.float64]:
    """Score synthetic defects that are drawn into images of good parts, with the recipe of the run's training.

    Textures are procedural, as the training's folder of textures may not be here.

    Args:
        inspector: The inspector of a run.
        paths: Images of good parts.
        settings: Number of defects, and the seed of their draws.
        batch_size: Images per forward pass.

    Returns:
        ``(N,)`` scores 0..1. ``N`` is at most the number of defects asked for, as some draws are empty.
    """
    recipe = SynthesisConfig() if inspector.run is None else inspector.run.config.synthesis
    scores: list[float] = []
    chosen = [paths[round(place)] for place in np.linspace(0, len(paths) - 1, settings.synthetic)] if paths else []
    for start in range(0, len(chosen), batch_size):
        batch = chosen[start : start + batch_size]
        read = [try_read(path, inspector.engine.size, rules_of(inspector.engine)) for path in batch]
        parts = [one.small for one in read if isinstance(one, ReadImage)]
        drawn = _with_defects(parts, recipe, settings.seed + start) if parts else []
        verdicts = inspector.inspect_batch(drawn, workers=BatchConfig.workers)
        scores += [verdict.score for verdict in verdicts if isinstance(verdict, Verdict)]
    return np.array(scores, np.float64)


def group_defect_scores(
    inspector: Inspector,
    paths: Iterable[Path],
    calibration: Calibration,
    settings: CalibrationCheckConfig,
    batch_size: int,
) -> dict[str | None, NDArray[np.float64]]:
    """Score synthetic defects in the images of each group with thresholds of its own, and in all others."""
    groups: dict[str | None, list[Path]] = {}
    for path in paths:
        groups.setdefault(calibration.threshold_group(group_of(path, calibration.settings.per)), []).append(path)
    return {name: synthetic_scores(inspector, images, settings, batch_size) for name, images in groups.items()}


def drawn_defect(image: Image, rng: np.random.Generator) -> Image | None:
    """Draw a synthetic defect of one of ten kinds into an image of a good part.

    Args:
        image: ``(H, W, 3)`` uint8; not modified. Its mirror image stands for another part, pieces of which are pasted.
        rng: Source of kind and draw. A kind that is not visible in the image is passed over for the next one.

    Returns:
        ``(H, W, 3)`` uint8; ``None`` if no kind is visible.
    """
    from clipada.synthesis import KINDS, draw_anomaly

    kinds, first = list(KINDS), int(rng.integers(len(KINDS)))
    unit = image.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    good, source = np.ascontiguousarray(unit), np.ascontiguousarray(unit[:, :, ::-1])
    for kind in kinds[first:] + kinds[:first]:
        drawn, mask = draw_anomaly(kind, good, source, rng)
        if mask.any():
            return np.rint(255 * drawn).astype(np.uint8).transpose(1, 2, 0).copy()
    return None


def _with_defects(parts: Sequence[Image], recipe: SynthesisConfig, seed: int) -> list[Image]:
    """Draw a defect into each image ``(H, W, 3)`` uint8; leave out those for which the draw is empty."""
    import torch

    from clipada.randomness import derived_generator
    from clipada.synthesis import AnomalySynthesizer, texture_source

    always = replace(recipe, anomaly_probability=1.0, rotate_probability=0.0, textures=None)
    synthesizer = AnomalySynthesizer(always, texture_source(always))
    images = torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2).float() / 255
    changed, masks = synthesizer(images, derived_generator(seed, "calibration"))
    levels = (255 * changed).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    return [image for image, mask in zip(levels, masks, strict=True) if mask.any()]
