"""Ground truth of test images, at the size where maps are compared with it: the model's, or each image's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from clipada.config import ComparedAt
from clipada.data import load_mask
from clipada.data.saturation import SaturatedRegion, Saturation, load_regions, read_saturation
from clipada.errors import ConfigError, did_you_mean
from clipada.images import restore_map
from clipada.types import Map, Mask, Sample

MASK_RULES: dict[ComparedAt, str] = {
    "model": "masks resized by area to the model's input size; no region vanishes",
    "native": "maps enlarged to each image's own size, where masks are compared as they are",
}


class Truth(NamedTuple):
    """Ground truth of one image.

    Attributes:
        mask: ``(H, W)``, all false for a normal image; ``None`` for unlabeled pixels.
        regions: Its defects with their saturation, in a category that has such thresholds.
    """

    mask: Mask | None
    regions: tuple[SaturatedRegion, ...]


class TruthReader:
    """Reader of ground truth.

    Args:
        at: The size of the comparison.
        saturation_files: The saturation thresholds of categories that have some.
        on_note: Receives each rule that is applied to an unusual mask, and the mask.

    Raises:
        ConfigError: There is no such size.
        DatasetError: Saturation thresholds cannot be read.
    """

    def __init__(
        self,
        at: ComparedAt,
        saturation_files: Mapping[str, Path],
        on_note: Callable[[str, Path], None],
    ) -> None:
        if at not in MASK_RULES:
            raise ConfigError(
                f"cannot compare at {at!r}", expected=" | ".join(MASK_RULES), remedy=did_you_mean(str(at), MASK_RULES)
            )
        self._native, self._on_note = at == "native", on_note
        self.saturations: dict[str, dict[int, Saturation]] = {
            name: read_saturation(path) for name, path in saturation_files.items()
        }

    def read(self, sample: Sample, image_size: tuple[int, int], map_size: tuple[int, int]) -> Truth:
        """Read the ground truth of a sample.

        Args:
            sample: The image.
            image_size: Its width and height in pixels.
            map_size: Height and width of its map: the model's input size, or that of the joined map of tiles.

        Raises:
            ImageError: A mask cannot be read or understood, or does not fit its image.
        """
        size = image_size[::-1] if self._native else map_size
        mask = load_mask(sample, size, image_size, self._on_note)
        saturations = self.saturations.get(sample.category)
        if saturations is None or mask is None:
            return Truth(mask, ())
        return Truth(mask, load_regions(sample, saturations, size, image_size))

    def fitted(self, anomaly_map: Map, image_size: tuple[int, int]) -> Map:
        """Return a map at the size of the comparison, for an image of ``(width, height)`` pixels."""
        return restore_map(anomaly_map, image_size[::-1]) if self._native else anomaly_map
