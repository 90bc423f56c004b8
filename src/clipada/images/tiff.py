"""Pages of TIFF files: their tags, read with bounds before Pillow parses the file, and the page that is the image.

Pillow ignores several tags that change the meaning of pixels (white is zero, planes, signed values, fewer bits than
16), so the layout is decided here: read by Pillow, read by ``clipada.images.tiff_pixels``, or refused with a reason.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Literal

from clipada.errors import ImageError, ImageKindError, ImageSizeError

MAX_PAGES = 1_000
"""Largest number of pages of a TIFF file."""

MAX_TAGS = 1_000
"""Largest number of tags of a page. The standard and all camera makers' extensions have fewer."""

MAX_CHUNKS = 100_000
"""Largest number of strips or tiles of a page. Pillow takes 10 microseconds for each."""

EIGHT_BIT_REMEDY = "save it as 8-bit, or as 16-bit gray that uses the full range"
_INTERLEAVED_REMEDY = "save it uncompressed with interleaved samples, or as PNG"

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2
_PHOTOMETRIC = {3: "palette colors", 4: "a transparency mask", 5: "CMYK colors", 6: "YCbCr colors", 8: "Lab colors"}
_PLAIN = (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB)
_LAB = 8
_BAYER, _LINEAR_RAW = 32803, 34892
_SIGNED, _FLOAT = 2, 3
_UNCOMPRESSED = frozenset({1, 8, 32946})
_WEBP_COMPRESSION = 50001
_REDUCED, _MASK_PAGE = 1, 4
_ALPHA = frozenset({1, 2})

_ORDERS: Mapping[bytes, Literal["<", ">"]] = {b"II": "<", b"MM": ">"}
_TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 18: "Q"}
_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_CHUNK_TAGS = frozenset({273, 279, 324, 325})
_NUMBER_TAGS = frozenset({254, 256, 257, 258, 259, 262, 266, 274, 277, 278, 284, 317, 322, 323, 338, 339})


@dataclass(frozen=True, kw_only=True)
class TiffPage:
    """One page of a TIFF file.

    Attributes:
        index: Number of the page in the file, from 0.
        order: Byte order, ``"<"`` or ``">"``.
        tags: Values of the tags that describe the pixels.
    """

    index: int
    order: Literal["<", ">"]
    tags: Mapping[int, tuple[int, ...]]

    def tag(self, number: int, default: int = 0) -> int:
        """Return a tag's first value, or ``default`` if the page lacks it."""
        values = self.tags.get(number)
        return values[0] if values else default

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.tag(256)

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.tag(257)

    @property
    def samples(self) -> int:
        """Number of samples of a pixel, e.g. 3 for RGB."""
        return self.tag(277, 1)

    @property
    def bits(self) -> tuple[int, ...]:
        """Distinct numbers of bits of the samples; one, unless they differ."""
        return tuple(dict.fromkeys(self.tags.get(258, (1,))))

    @property
    def photometric(self) -> int:
        """Meaning of the samples, e.g. ``BLACK_IS_ZERO``."""
        return self.tag(262, -1)

    @property
    def planar(self) -> bool:
        """True if each sample has a plane of its own."""
        return self.tag(284, 1) == 2 and self.samples > 1

    @property
    def raw_planes(self) -> bool:
        """True if the planes are not compressed. Pillow reads such planes of 16 bits as if they were interleaved."""
        return self.planar and self.compression == 1

    @property
    def unnamed_planes(self) -> bool:
        """True if there are uncompressed planes beyond red, green and blue that are no transparency."""
        return self.raw_planes and self.samples > 3 and not _ALPHA.intersection(self.tags.get(338, ()))

    @property
    def compression(self) -> int:
        """Code of the compression; 1 for none."""
        return self.tag(259, 1)

    @property
    def decoded_here(self) -> bool:
        """True if Pillow cannot read the layout, or reads wrong pixels without an error."""
        if self.photometric not in _PLAIN or len(self.bits) > 1:
            return False
        bits = self.bits[0]
        return (
            8 < bits < 16
            or (bits == 16 and (self.raw_planes or self.photometric == WHITE_IS_ZERO))
            or (bits == 8 and self.planar and (self.photometric != RGB or self.unnamed_planes))
        )


def read_page(file: IO[bytes], name: str) -> TiffPage | None:
    """Return the page that is the image, or ``None`` if the file is no TIFF, or is too damaged to have one.

    It is the largest page that is not marked as a thumbnail or as a mask.

    Raises:
        ImageError: There are several such pages.
        ImageKindError: The page's pixels have a layout that cannot be read.
        ImageSizeError: There are too many pages, tags, strips or tiles.
    """
    pages = [page for page in _pages(file, name) if page.width > 0 and page.height > 0]
    full = [page for page in pages if not page.tag(254) & (_REDUCED | _MASK_PAGE)] or pages
    if not full:
        return None
    page = max(full, key=lambda each: each.width * each.height)
    same = sum((each.width, each.height) == (page.width, page.height) for each in full)
    if same > 1:
        raise ImageError(
            f"cannot read image {name}",
            expected="one picture",
            got=f"a TIFF of {same} pages of {page.width} x {page.height} pixels",
            remedy="save the page that shows the part as a file of its own",
        )
    _require_readable(page, name)
    return page


def unread(page: TiffPage, name: str) -> ImageKindError:
    """Return the error for a layout of pixels that nothing here can read."""
    bits = " + ".join(map(str, page.bits))
    meaning = _PHOTOMETRIC.get(page.photometric, {0: "gray", 1: "gray", 2: "RGB"}.get(page.photometric))
    kind = meaning or f"photometric interpretation {page.photometric}"
    planes = ", in planes" if page.planar else ""
    compression = "" if page.compression == 1 else f", compression {page.compression}"
    return _refused(name, f"a TIFF of {page.samples} x {bits} bits, {kind}{planes}{compression}", EIGHT_BIT_REMEDY)


def _require_readable(page: TiffPage, name: str) -> None:
    """Raise ``ImageKindError`` for pixels whose meaning is unknown, or that neither reader reads right."""
    refusal = _meaning_refusal(page) or _coding_refusal(page)
    if refusal is not None:
        raise _refused(name, *refusal)


def _meaning_refusal(page: TiffPage) -> tuple[str, str] | None:
    """Return reason and remedy if the values have no meaning as gray or color."""
    kind, bits = page.tag(339, 1), max(page.bits)
    if kind == _SIGNED and bits != 32:
        return f"signed {bits}-bit pixels, which have no fixed range", EIGHT_BIT_REMEDY
    if kind == _FLOAT and (bits != 32 or page.samples > 1):
        return "float pixels, which have no fixed range", EIGHT_BIT_REMEDY
    if page.photometric in (_BAYER, _LINEAR_RAW):
        return "raw values of a color sensor (a Bayer pattern)", "convert it to RGB with the camera's software"
    if page.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO) and page.samples > 2:
        got = f"{page.samples} channels, and the file does not say which are red, green and blue"
        return got, "save the channels that show the part as RGB, or one of them as gray"
    if page.photometric == WHITE_IS_ZERO and bits == 32:
        return "32-bit gray whose zero is white", EIGHT_BIT_REMEDY
    return None


def _coding_refusal(page: TiffPage) -> tuple[str, str] | None:
    """Return reason and remedy if the values can be understood, but not decoded."""
    if page.compression == _WEBP_COMPRESSION:
        return "a TIFF compressed as WebP", _INTERLEAVED_REMEDY
    if not page.decoded_here and page.planar and (page.photometric == _LAB or (page.raw_planes and max(page.bits) > 8)):
        return f"{_PHOTOMETRIC.get(page.photometric, 'colors')} in planes", _INTERLEAVED_REMEDY
    if not page.decoded_here:
        return None
    if _ALPHA.intersection(page.tags.get(338, ())):
        return f"{page.bits[0]}-bit transparency that is packed or in planes", _INTERLEAVED_REMEDY
    predictors = 2 if page.bits[0] in (8, 16) else 1
    if page.compression not in _UNCOMPRESSED or page.tag(266, 1) != 1 or page.tag(317, 1) > predictors:
        return f"{page.bits[0]}-bit pixels in a TIFF with compression {page.compression}", _INTERLEAVED_REMEDY
    return None


def _refused(name: str, got: str, remedy: str) -> ImageKindError:
    return ImageKindError(f"cannot read image {name}", expected="8-bit or 16-bit gray or color", got=got, remedy=remedy)


def _pages(file: IO[bytes], name: str) -> Iterator[TiffPage]:
    """Yield the pages of a TIFF file in order; none if it is another kind of file. The file is rewound."""
    file.seek(0)
    head = file.read(16)
    order = _ORDERS.get(head[:2])
    if order is None or len(head) < 8:
        file.seek(0)
        return
    big = struct.unpack(order + "H", head[2:4])[0]
    if big not in (42, 43) or (big == 43 and len(head) < 16):
        file.seek(0)
        return
    offset = struct.unpack(order + "Q", head[8:16])[0] if big == 43 else struct.unpack(order + "I", head[4:8])[0]
    seen: set[int] = set()
    try:
        while offset and offset not in seen:
            if len(seen) == MAX_PAGES:
                raise _too_many(name, "pages", MAX_PAGES, MAX_PAGES + 1)
            seen.add(offset)
            tags, offset = _directory(file, order, offset, big == 43, name)
            yield TiffPage(index=len(seen) - 1, order=order, tags=tags)
    except (struct.error, OverflowError, OSError):
        return  # a damaged chain of pages ends here
    finally:
        file.seek(0)


def _directory(
    file: IO[bytes], order: str, offset: int, big: bool, name: str
) -> tuple[dict[int, tuple[int, ...]], int]:
    """Read the tags of one page and the offset of the next page."""
    count_code, entry_code, offset_code = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
    file.seek(offset)
    (count,) = _unpack(file, order + count_code)
    if count > MAX_TAGS:
        raise _too_many(name, "tags", MAX_TAGS, count)
    entry = struct.Struct(order + entry_code)
    table = file.read(entry.size * count)
    rest = file.read(8 if big else 4)
    following = struct.unpack(order + offset_code, rest)[0] if len(rest) == (8 if big else 4) else 0
    tags: dict[int, tuple[int, ...]] = {}
    for number, kind, length, value in entry.iter_unpack(table[: len(table) // entry.size * entry.size]):
        limit = MAX_CHUNKS if number in _CHUNK_TAGS else MAX_TAGS if number in _NUMBER_TAGS else 0
        if limit and length > limit:
            things = "strips or tiles" if number in _CHUNK_TAGS else f"values of tag {number}"
            raise _too_many(name, things, limit, length)
        values = _values(file, order, kind, length, value) if limit else ()
        if values:
            tags[number] = values
    return tags, following


def _values(file: IO[bytes], order: str, kind: int, count: int, value: bytes) -> tuple[int, ...]:
    """Return the integers of a tag, from its entry or from the place in the file that the entry names."""
    code = _TYPES.get(kind)
    if code is None:
        return ()
    size = _WIDTHS[kind] * count
    if size > len(value):
        file.seek(struct.unpack(order + ("Q" if len(value) == 8 else "I"), value)[0])
        value = file.read(size)
    return struct.unpack(f"{order}{count}{code}", value[:size]) if len(value) >= size else ()


def _unpack(file: IO[bytes], form: str) -> tuple[int, ...]:
    return struct.unpack(form, file.read(struct.calcsize(form)))


def _too_many(name: str, things: str, limit: int, got: int) -> ImageSizeError:
    return ImageSizeError(
        f"image {name} is too large",
        expected=f"a TIFF of at most {limit:,} {things}",
        got=f"{got:,} or more" if things == "pages" else f"{got:,}",
        remedy="save the file again with larger strips, or as PNG",
    )
