"""Pages of TIFF files: their tags, read with bounds before Pillow parses the file, and the page that is the image."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import IO, Literal

from clipada.config.image_rules import ImageRules
from clipada.errors import ImageError, ImageSizeError
from clipada.images.tiff_page import TiffPage
from clipada.images.tiff_refusals import require_readable

MAX_PAGES = 1_000
"""Largest number of pages of a TIFF file."""

MAX_TAGS = 1_000
"""Largest number of tags of a page. The standard and all camera makers' extensions have fewer."""

MAX_CHUNKS = 100_000
"""Largest number of strips or tiles of a page. Pillow takes 10 microseconds for each."""

_REDUCED, _MASK_PAGE = 1, 4

_ORDERS: Mapping[bytes, Literal["<", ">"]] = {b"II": "<", b"MM": ">"}
_TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 18: "Q"}
_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_CHUNK_TAGS = frozenset({273, 279, 324, 325})
_NUMBER_TAGS = frozenset({254, 256, 257, 258, 259, 262, 266, 274, 277, 278, 281, 284, 317, 322, 323, 338, 339})


def read_page(file: IO[bytes], name: str, rules: ImageRules) -> TiffPage | None:
    """Return the page that is the image, or ``None`` if the file is no TIFF, or is too damaged to have one.

    It is the page that the rules name, else the largest one that is not marked as a thumbnail or as a mask.

    Raises:
        ImageError: The file lacks the page that is named; or there are several of the largest size, and none is named.
        ImageKindError: The page's pixels have a layout that cannot be read.
        ImageSizeError: There are too many pages, tags, strips or tiles.
    """
    pages = list(_pages(file, name))
    found = _largest(pages) if rules.page is None else pages[rules.page - 1 : rules.page]
    if rules.page is not None and pages and not found:
        raise no_page(name, rules.page, len(pages))
    if not found:
        return None
    page, same = found[0], len(found)
    if same > 1:
        raise ImageError(
            f"cannot read image {name}",
            expected="one picture",
            got=f"a TIFF of {same} pages of {page.width} x {page.height} pixels",
            remedy="train with --page and the number of the one that shows the part, or save it as a file of its own",
        )
    require_readable(page, name, rules)
    return page


def largest_page(file: IO[bytes], name: str) -> TiffPage | None:
    """Return the largest page, whether it can be read or not; ``None`` if the file is no TIFF, or is too damaged.

    Raises:
        ImageSizeError: There are too many pages, tags, strips or tiles.
    """
    return next(iter(_largest(list(_pages(file, name)))), None)


def no_page(name: str, wanted: int, count: int) -> ImageError:
    """Return the error for a file that lacks the page that the run's rules name."""
    return ImageError(
        f"cannot read image {name} by the run's rules",
        expected=f"page {wanted} (model.image_page)",
        got=f"a file of {count} page{'s' * (count > 1)}",
        remedy="send files of the camera that was trained on, or train again with another --page",
    )


def _largest(pages: list[TiffPage]) -> list[TiffPage]:
    """Return the pages of the largest size that are neither thumbnails nor masks, unless all are."""
    some = [page for page in pages if page.width > 0 and page.height > 0]
    full = [page for page in some if not page.tag(254) & (_REDUCED | _MASK_PAGE)] or some
    if not full:
        return []
    first = max(full, key=lambda each: each.width * each.height)
    return [each for each in full if (each.width, each.height) == (first.width, first.height)]


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
