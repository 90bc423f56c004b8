"""Reading of an image as a caller passes it: a file, its bytes, or pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Self

import numpy as np
import PIL.Image
import PIL.ImageOps

from clipada.config.image_rules import ImageRules
from clipada.data import Batch
from clipada.errors import ImageError
from clipada.images import image_sha256, read_rgb, resize
from clipada.types import Image

Groups = Sequence[str | None]
"""The group of each image; ``None`` for one that its file's path names."""

_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
"""Modes of Pillow images that a PNG file holds without a loss."""


@dataclass(frozen=True, kw_only=True)
class ReadImage:
    """An image in memory: its own pixels, those at the model's input size, its hash, and its file if it has one."""

    image: Image
    small: Image
    sha256: str
    path: Path | None

    @classmethod
    def of_batch(cls, batch: Batch, index: int) -> Self:
        """Take an image out of a batch that kept the originals."""
        image, small = batch.originals[index], batch.images[index]
        return cls(image=image, small=small, sha256=batch.sha256s[index], path=batch.paths[index])


Source = Path | str | bytes | Image | PIL.Image.Image | ReadImage
"""A file, its bytes, RGB values ``(H, W, 3)`` uint8, a Pillow image, or an image that was read already."""


def read_image(given: Source, size: tuple[int, int], rules: ImageRules) -> ReadImage:
    """Read an image, and resize it to the model's input of ``size`` (height, width) pixels.

    Raises:
        ImageError: It cannot be read, or the array is no RGB image.
    """
    if isinstance(given, ReadImage):
        return given
    if isinstance(given, PIL.Image.Image):
        given = _converted(given, rules)
    source = Path(given) if isinstance(given, str) else given
    pixels = _checked(source) if isinstance(source, np.ndarray) else read_rgb(source, rules)
    return ReadImage(
        image=pixels,
        small=resize(pixels, size),
        sha256=image_sha256(source),
        path=source if isinstance(source, Path) else None,
    )


def try_read(given: Source, size: tuple[int, int], rules: ImageRules) -> ReadImage | ImageError:
    """Read an image as ``read_image`` does; return the error if it cannot be read."""
    try:
        return read_image(given, size, rules)
    except ImageError as error:
        return error


def _converted(image: PIL.Image.Image, rules: ImageRules) -> Image:
    """Return the RGB values of a Pillow image, as they are read from a file of that page with the same pixels."""
    if image.mode == "F" or not image.width * image.height:
        raise ImageError(
            f"cannot inspect the Pillow image of mode {image.mode}",
            expected="integer pixels",
            got="float pixels, which have no fixed range" if image.mode == "F" else "no pixels",
        )
    upright = PIL.ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):
        values = np.asarray(upright)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise ImageError(
                f"cannot inspect the Pillow image of mode {image.mode}",
                expected="gray values 0..65535",
                got=f"{values.min()}..{values.max()}",
            )
        upright = PIL.Image.fromarray(values.astype(np.uint16))
    elif upright.mode not in _PNG_MODES:
        upright = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    content = BytesIO()
    upright.save(content, "PNG", compress_level=0)
    return read_rgb(content.getvalue(), replace(rules, page=None))


def _checked(pixels: Image) -> Image:
    """Return the array if it is an RGB image."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ImageError(
            "cannot inspect the array",
            expected="RGB values (H, W, 3) uint8",
            got=f"{pixels.dtype} of shape {pixels.shape}",
            remedy="pass the file or its bytes, which are converted",
        )
    return pixels
