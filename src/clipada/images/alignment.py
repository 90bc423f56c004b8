"""Alignment of images to the reference of their product: one of its training images."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, Self, cast, get_args

import numpy as np
import PIL.Image

from clipada.errors import AlignmentError, ConfigError
from clipada.images.geometry import resize
from clipada.images.placing import into_reference
from clipada.images.registration import MOST_SHIFT, Details, Motion, compared_size, register
from clipada.types import Image
from clipada.types.placement import Placement


class Placed(NamedTuple):
    """An image moved into the frame of the reference, and the place of its part before."""

    image: Image
    placement: Placement


Align = Callable[[Path, Image], Placed]
"""Moves the image of a file into the frame of a reference; raises ``AlignmentError`` if it does not fit."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Reference of a product.

    Attributes:
        photo: Name of the training image.
        least: Least fit of an image that shows the product.
        picture: The image, made small, as the bytes of a PNG file.
    """

    photo: str
    least: float
    picture: bytes = field(repr=False)

    @classmethod
    def of(cls, image: Image, photo: str, least: float) -> Self:
        """Make a reference of a small image ``(h, w, 3)``."""
        content = BytesIO()
        PIL.Image.fromarray(image).save(content, "PNG")
        return cls(photo=photo, least=least, picture=content.getvalue())

    @cached_property
    def image(self) -> Image:
        """The small image, ``(h, w, 3)``."""
        return np.array(PIL.Image.open(BytesIO(self.picture), formats=("PNG",)).convert("RGB"))

    def find(self, image: Image, motion: Motion) -> Placement:
        """Find the part in an image of any size, whose aspect is taken for that of the reference, whatever the fit."""
        height, width = image.shape[:2]
        size = compared_size(width, height)
        found = register(_details(self, size), Details.of(resize(image, size)), motion)
        return found.enlarged((height, width))


@lru_cache(maxsize=16)
def _details(reference: Reference, size: tuple[int, int]) -> Details:
    return Details.of(resize(reference.image, size))


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """Alignment of a run: the references of its products. Images of a product without one are taken as they are.

    Attributes:
        motion: Motion of the part that is undone.
        references: By the product's name.
    """

    motion: Motion
    references: Mapping[str, Reference]

    def placed(self, product: str, image: Image) -> Placed:
        """Move an image of a product that has a reference into its frame.

        Raises:
            AlignmentError: The image does not fit.
        """
        reference = self.references[product]
        placement = reference.find(image, self.motion)
        if placement.fit < reference.least:
            turned = " and turned" if self.motion == "pose" else ""
            raise AlignmentError(
                f"the image does not fit the reference of {product}",
                expected=f"the part as in {reference.photo}, moved by at most {MOST_SHIFT:.0%} of the image{turned}: "
                f"a fit of {reference.least:.2f} or more",
                got=f"a fit of {placement.fit:.2f}",
                remedy="check product, camera and light",
            )
        return Placed(into_reference(image, placement, reference.image), placement)

    def aligner(self, product: str) -> Align | None:
        """Return a function that moves images of a product; ``None`` for a product without a reference."""
        return partial(self._placed_file, product) if product in self.references else None

    def aligner_of(self, products: Mapping[Path, str]) -> Align:
        """Return a function that moves the images of files whose products, each with a reference, are given."""
        return lambda path, image: self.placed(products[path], image)

    def _placed_file(self, product: str, _: Path, image: Image) -> Placed:
        return self.placed(product, image)

    @classmethod
    def from_dict(cls, content: Any) -> Self:
        """Rebuild it from ``to_dict``'s result.

        Raises:
            ConfigError: The content has another shape.
        """
        try:
            motion = content["motion"]
            if motion not in get_args(Motion):
                raise ValueError(f"motion {motion!r}")
            references = {
                str(name): Reference(
                    photo=str(one["photo"]),
                    least=float(one["least"]),
                    picture=base64.b64decode(one["picture"], validate=True),
                )
                for name, one in content["references"].items()
            }
        except (AttributeError, KeyError, TypeError, ValueError, binascii.Error) as error:
            got = str(error)[:80]
            raise ConfigError("the alignment cannot be used", expected="motion and references", got=got) from error
        return cls(motion=cast("Motion", motion), references=references)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, ready for JSON."""
        return {
            "motion": self.motion,
            "references": {
                name: {
                    "photo": one.photo,
                    "least": one.least,
                    "picture": base64.b64encode(one.picture).decode("ascii"),
                }
                for name, one in self.references.items()
            },
        }
