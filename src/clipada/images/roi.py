"""Regions of interest: the part of a product's images that counts, as polygons or as a mask."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from io import BytesIO
from typing import Any, Self

import numpy as np
import PIL.Image
import PIL.ImageDraw

from clipada.errors import ConfigError
from clipada.images.geometry import resize_mask
from clipada.images.opening import MAX_PIXELS
from clipada.images.placing import mask_from_reference
from clipada.types import Engine, LocalizedImage, Map, Mask, ProductEngine

Polygon = tuple[tuple[float, float], ...]
"""Corners ``(x, y)`` in pixels."""

MOST_CORNERS = 10_000
"""Most corners of all polygons of a product."""

_FINER, _MOST_DRAWN = (4, 2), 64_000_000
"""Factors by which polygons are drawn larger, as Pillow draws a border's pixels in full, and most pixels of that."""

_LARGE = 4_000_000
"""Most pixels of a mask that is resized by exact sums, and of those that are kept for the next image, but the last."""

_EXAMPLE = '{"size": [WIDTH, HEIGHT], "polygons": [[[x, y], [x, y], [x, y]]]}'


@dataclass(frozen=True, kw_only=True)
class RegionOfInterest:
    """The part of a product's images that counts. Images of another size than the stated one are taken as scaled.

    Attributes:
        size: Width and height of the images for which it is stated, in pixels.
        polygons: Their union counts.
        mask: A mask ``(height, width)`` instead of polygons, packed as the bytes of a 1-bit PNG file.

    Raises:
        ConfigError: It is empty, or a polygon is outside of the image.
    """

    size: tuple[int, int]
    polygons: tuple[Polygon, ...] = ()
    mask: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        width, height = self.size
        if min(self.size) < 1 or width * height > MAX_PIXELS:
            raise _wrong("size", f"width and height, at most {MAX_PIXELS:,} pixels", f"{width} x {height}")
        if sum(map(len, self.polygons)) > MOST_CORNERS:
            raise _wrong("polygons", f"at most {MOST_CORNERS:,} corners", f"{sum(map(len, self.polygons)):,}")
        for number, polygon in enumerate(self.polygons, start=1):
            if len(polygon) < 3:
                raise _wrong(f"polygon {number}", "3 corners or more", str(len(polygon)))
            for x, y in polygon:
                if not (0 <= x <= width and 0 <= y <= height):  # NaN is outside, too
                    raise _wrong(f"polygon {number}", f"corners inside of {width} x {height} pixels", f"({x:g}, {y:g})")
        if not self.drawn().any():
            raise _wrong("area", "at least one pixel inside", "none")

    @classmethod
    def of_mask(cls, mask: Mask) -> Self:
        """Make a region of interest of a mask ``(H, W)``, true inside."""
        content = BytesIO()
        PIL.Image.fromarray(mask).save(content, "PNG")
        return cls(size=(mask.shape[1], mask.shape[0]), mask=content.getvalue())

    @classmethod
    def from_dict(cls, content: Any) -> Self:
        """Rebuild it from ``to_dict``'s result, or from a file that a person or the page wrote.

        Raises:
            ConfigError: The content has another shape; it is empty, or outside of the image.
        """
        if not isinstance(content, dict) or set(content) not in ({"size", "polygons"}, {"size", "mask"}):
            got = ", ".join(sorted(map(str, content)))[:80] if isinstance(content, dict) else type(content).__name__
            raise _wrong("content", _EXAMPLE, got or "nothing")
        size = content["size"]
        if not (isinstance(size, list) and len(size) == 2 and all(type(one) is int for one in size)):
            raise _wrong("size", "[width, height] in whole pixels", repr(size)[:80])
        if "mask" in content:
            return cls(size=(size[0], size[1]), mask=_decoded(content["mask"], (size[0], size[1])))
        polygons = content["polygons"]
        if not (isinstance(polygons, list) and all(isinstance(one, list) for one in polygons)):
            raise _wrong("polygons", "a list of lists of corners [x, y]", repr(polygons)[:80])
        return cls(size=(size[0], size[1]), polygons=tuple(tuple(map(_corner, one)) for one in polygons))

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, ready for JSON."""
        if self.mask:
            return {"size": list(self.size), "mask": base64.b64encode(self.mask).decode("ascii")}
        return {"size": list(self.size), "polygons": [[list(corner) for corner in one] for one in self.polygons]}

    def drawn(self) -> Mask:
        """Return its mask at the stated size, ``(height, width)``: a pixel counts if about half of it is inside."""
        if self.mask:
            return np.array(PIL.Image.open(BytesIO(self.mask), formats=("PNG",)).convert("1"))
        width, height = self.size
        finer = next((one for one in _FINER if one * one * width * height <= _MOST_DRAWN), 1)
        picture = PIL.Image.new("L", (finer * width, finer * height))
        draw = PIL.ImageDraw.Draw(picture)
        for polygon in self.polygons:
            draw.polygon([(finer * x - 0.5, finer * y - 0.5) for x, y in polygon], fill=255)
        return np.asarray(picture.reduce(finer)) > 127

    def inside(self, size: tuple[int, int]) -> Mask:
        """Return its mask for images of ``size`` (height, width): pixels of which at least half is inside."""
        return _resized(self, size) if size[0] * size[1] <= _LARGE else _resized_large(self, size)


@lru_cache(maxsize=16)
def _resized(region: RegionOfInterest, size: tuple[int, int]) -> Mask:
    found = resize_mask(region.drawn(), size)
    found.setflags(write=False)
    return found


@lru_cache(maxsize=2)
def _resized_large(region: RegionOfInterest, size: tuple[int, int]) -> Mask:
    """Resize a mask as ``_resized`` does, in bytes instead of 8-byte sums: halves are exact to 1/255 of a pixel."""
    found = region.drawn()
    if found.shape != size:
        picture = PIL.Image.fromarray(found).convert("L").resize(size[::-1], PIL.Image.Resampling.BOX)
        found = np.asarray(picture) > 127
    found.setflags(write=False)
    return found


@dataclass(frozen=True, kw_only=True)
class RegionsOfInterest:
    """Regions of interest of a run's products; a product without one counts as a whole.

    Attributes:
        products: By the product's name.
    """

    products: Mapping[str, RegionOfInterest]

    def inside(self, product: str | None, size: tuple[int, int]) -> Mask | None:
        """Return the mask ``(H, W)`` of what counts in an image of ``size`` (height, width); ``None`` for all of it.

        Where the product is not known, all counts that counts for any of them.
        """
        if product is not None:
            region = self.products.get(product)
            return None if region is None else region.inside(size)
        masks = [region.inside(size) for region in self.products.values()]
        union: Mask = np.logical_or.reduce(masks)
        return union

    @classmethod
    def from_dict(cls, content: Any) -> Self:
        """Rebuild them from ``to_dict``'s result.

        Raises:
            ConfigError: The content has another shape, or one of the regions has.
        """
        products = content.get("products") if isinstance(content, dict) else None
        if not isinstance(products, dict) or not products:
            raise _wrong("products", "a region of interest by the name of each product", repr(products)[:80])
        found = {}
        for name, region in products.items():
            try:
                found[name] = RegionOfInterest.from_dict(region)
            except ConfigError as error:
                raise ConfigError(f"{name}: {error.what}", expected=error.expected, got=error.got) from None
        return cls(products=found)

    def to_dict(self) -> dict[str, Any]:
        """Return them as plain values, ready for JSON."""
        return {"products": {name: region.to_dict() for name, region in self.products.items()}}


def masked(anomaly_map: Map, inside: Mask | None) -> Map:
    """Return a map ``(H, W)`` that is 0 outside of a region of interest; as it is without one."""
    return anomaly_map if inside is None else np.where(inside, anomaly_map, np.float32(0))


def regions_of(engine: object) -> RegionsOfInterest | None:
    """Return the regions of interest of an engine's run; ``None`` if the whole image counts."""
    found = getattr(engine, "regions", None)
    return found if isinstance(found, RegionsOfInterest) else None


def seen_inside(engine: Engine, found: LocalizedImage, group: str | None) -> Callable[[tuple[int, int]], Mask | None]:
    """Return a function from a size (height, width) to the mask of what counts in an image, ``None`` for all of it.

    The product is the one whose memory was searched, else the one that the group or the path names. Of an image that
    was aligned, the region moves with the part, and only the frame of the reference counts.
    """
    regions = regions_of(engine)
    if regions is None:
        return partial(_frame, found)
    product = group if group in regions.products else None
    if found.product is not None and isinstance(engine, ProductEngine):
        product = engine.products[found.product]
    return lambda size: _frame(found, size, regions.inside(product, size))


def with_part(inside: Mask | None, found: LocalizedImage) -> Mask | None:
    """Return a region of interest as it is in an image, with the part if that was aligned."""
    return inside if inside is None or found.placement is None else mask_from_reference(inside, found.placement)


def _frame(found: LocalizedImage, size: tuple[int, int], inside: Mask | None = None) -> Mask | None:
    """Return the frame of the reference, or the region in it, as it is in an image; ``None`` for all of it."""
    if inside is None and found.placement is not None:
        inside = np.ones(size, bool)
    return with_part(inside, found)


def _corner(value: Any) -> tuple[float, float]:
    numbers = isinstance(value, list) and len(value) == 2 and all(type(one) in (int, float) for one in value)
    if not numbers:
        raise _wrong("corner", "[x, y] in pixels", repr(value)[:80])
    return float(value[0]), float(value[1])


def _decoded(text: Any, size: tuple[int, int]) -> bytes:
    """Return the bytes of a mask's PNG file after checking that it is one of that size."""
    try:
        content = base64.b64decode(text, validate=True)
        with PIL.Image.open(BytesIO(content), formats=("PNG",)) as image:
            if image.size != size:
                raise _wrong("mask", f"{size[0]} x {size[1]} pixels", f"{image.width} x {image.height}")
            image.load()
    except (TypeError, ValueError, OSError, SyntaxError, binascii.Error) as error:
        raise _wrong("mask", "a PNG file in base64", str(error)[:80]) from error
    return content


def _wrong(what: str, expected: str, got: str) -> ConfigError:
    return ConfigError(f"the {what} of a region of interest cannot be used", expected=expected, got=got)
