"""Values that pass between packages: frozen and validated."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from clipada.errors import ClipAdaError, DatasetError
from clipada.types.localization import Engine as Engine
from clipada.types.localization import ImageEngine as ImageEngine
from clipada.types.localization import Localization as Localization
from clipada.types.localization import LocalizedImage as LocalizedImage
from clipada.types.localization import ProductEngine as ProductEngine
from clipada.types.localization import localize as localize
from clipada.types.localization import localize_images as localize_images
from clipada.types.localization import product_numbers as product_numbers
from clipada.types.localization import require_localized as require_localized
from clipada.types.placement import Placement as Placement
from clipada.types.progress import Progress as Progress
from clipada.types.progress import ProgressReport as ProgressReport
from clipada.types.progress import ignored as ignored
from clipada.types.progress import labeled as labeled
from clipada.types.progress import unreported as unreported

Split = Literal["train", "validation", "test"]

Decision = Literal["good", "defective", "not_inspectable"]
"""The decision on an image. ``not_inspectable``: it is unlike all training images, so that it says nothing on a part,
neither that it is good nor that it is defective."""

Image = NDArray[np.uint8]
"""An RGB image, ``(H, W, 3)``, values 0..255."""

Map = NDArray[np.float32]
"""An anomaly map, ``(H, W)``, values 0..1: the higher, the more anomalous."""

Mask = NDArray[np.bool_]
"""A mask, ``(H, W)``: true where anomalous."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, as shares of the image, 0..1."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One image of a data set and what is known of it.

    Attributes:
        path: The image file.
        category: The product it shows, e.g. ``"bottle"``.
        split: ``"train"``, ``"validation"`` for the good parts that a layout sets apart for thresholds, or ``"test"``.
            Only test images can be anomalous.
        defect: The kind of defect; ``"good"`` for normal images.
        mask: The ground-truth mask file of an anomalous image, where there is one.
        more_masks: Further mask files of the image, as in MVTec LOCO AD; all of them together are the ground truth.
        boxes: Boxes that contain the defects of an anomalous image without a mask, where there are any.
    """

    path: Path
    category: str
    split: Split
    defect: str = "good"
    mask: Path | None = None
    more_masks: tuple[Path, ...] = ()
    boxes: tuple[Box, ...] = ()

    def __post_init__(self) -> None:
        if self.split != "test" and self.anomalous:
            raise DatasetError(
                f"anomalous {'training' if self.split == 'train' else self.split} image {self.path}",
                expected="anomalous images in the test split only",
                got=f"defect {self.defect!r}",
                remedy="move the image to the test split",
            )
        if self.masks and not self.anomalous:
            raise DatasetError(f"normal image {self.path} has a mask {self.masks[0]}")

    @property
    def anomalous(self) -> bool:
        """True if the image shows a defect."""
        return self.defect != "good"

    @property
    def masks(self) -> tuple[Path, ...]:
        """All mask files, which together are the ground truth."""
        return self.more_masks if self.mask is None else (self.mask, *self.more_masks)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A file that could not be used in a batch that went on without it."""

    path: Path
    error: ClipAdaError


@dataclass(frozen=True, kw_only=True)
class Region:
    """A connected area of an anomaly map above the threshold, in pixels of that map.

    Attributes:
        box: ``(left, top, right, bottom)``, right and bottom exclusive.
        area: Number of pixels.
        peak: Highest map value inside, 0..1.
        peak_position: ``(x, y)`` of the peak.
    """

    box: tuple[int, int, int, int]
    area: int
    peak: float
    peak_position: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class ModelIdentity:
    """The model behind a verdict.

    Attributes:
        run: Name of its run folder.
        sha256: Hash of the adapter, its settings and the backbone's hash.
        backbone_sha256: Hash of the frozen backbone's weights.
        engine: Engine and precision that computed the maps, e.g. ``"torch fp32"``.
        manifest_sha256: Hash of the run's manifest, which lists the hash of every file that decided; ``None`` for a run
            that is not sealed.
    """

    run: str
    sha256: str
    backbone_sha256: str
    engine: str
    manifest_sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The result of inspecting one image. ``inspection.record`` defines how its fields are written down.

    Attributes:
        score: Image score, 0..1: the mean of the map's highest pixels at the model's input size.
        image: The image itself, ``(H, W, 3)`` uint8.
        anomaly_map: ``(H, W)`` float32 in the image's own geometry, values 0..1.
        regions: Connected areas above the threshold, highest peak first.
        threshold: Map value above which a pixel belongs to a region.
        path: The image file; ``None`` for an image passed as an array or bytes.
        image_sha256: Hash of the file's content; of the pixel values for an image passed as an array.
        time: Time of the verdict, in UTC, ISO 8601.
        latency_ms: Milliseconds from the start of reading the image to the verdict; in a batch, the time of the
            batch's forward pass plus the time to decide on this image.
        model: The model that inspected the image; ``None`` for an engine without a run.
        calibration: Id of the calibration; ``None`` without one, and then the next three are ``None`` too.
        p_value: Share of good parts that look at least as anomalous, 0..1; ``None`` for an image that is not
            inspectable.
        score_threshold: The part is defective when its score is greater.
        defective: True above the score threshold; ``None`` without a calibration, and for an image that is not
            inspectable.
        inspectable: False if the image is unlike all training images; ``None`` without an input check.
        input_reason: The reason why it is not inspectable, in words.
        group: The group whose thresholds were applied; ``None`` for those of all calibration images pooled.
        placement: Place of the part, of a run that aligns images; regions and maps are in the image's own geometry.
        inside: ``(H, W)``, true in the region of interest, outside of which the map is 0; ``None`` if the whole image
            counts.
    """

    score: float
    image: Image = field(repr=False)
    anomaly_map: Map = field(repr=False)
    regions: tuple[Region, ...]
    threshold: float
    path: Path | None = None
    image_sha256: str
    time: str
    latency_ms: float
    model: ModelIdentity | None = None
    calibration: str | None = None
    p_value: float | None = None
    score_threshold: float | None = None
    defective: bool | None = None
    group: str | None = None
    inspectable: bool | None = None
    input_reason: str | None = None
    placement: Placement | None = None
    inside: Mask | None = field(default=None, repr=False)

    @property
    def decision(self) -> Decision | None:
        """The decision in a word; ``None`` for an inspectable image without a calibration."""
        if self.inspectable is False:
            return "not_inspectable"
        return None if self.defective is None else "defective" if self.defective else "good"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the image in pixels."""
        height, width = self.anomaly_map.shape
        return width, height

    def overlay(self) -> PIL.Image.Image:
        """Draw the image, its anomaly map as heat over it, the outlines of the regions, and the scale."""
        from clipada.inspection.showing import draw

        return draw(self)

    def save(self, path: Path | str) -> Path:
        """Write ``overlay()`` as a PNG file, atomically, and return its path.

        Raises:
            ImageError: The name does not end in ``.png``.
            OSError: The file cannot be written.
        """
        from clipada.inspection.showing import save

        return save(self, Path(path))

    def _repr_html_(self) -> str:
        """Show the verdict in a notebook: its decision, its figures, and the overlay."""
        from clipada.inspection.showing import verdict_html

        return verdict_html(self)


def written_size(size: tuple[int, int]) -> int | tuple[int, int]:
    """Return a height and width as files record it: one number for a square."""
    height, width = size
    return height if height == width else size
