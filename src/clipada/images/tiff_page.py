"""One page of a TIFF file: its tags, and who can decode its pixels.

Pillow ignores several tags that change the meaning of pixels (white is zero, planes, signed values, fewer bits than
16), so the layout is decided here: read by Pillow, read by ``clipada.images.tiff_pixels``, or refused with a reason by
``clipada.images.tiff_refusals``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from clipada.images.tiff_codecs import can_decompress

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2
SENSOR = 32803
ALPHA = frozenset({1, 2})
_PLAIN = (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB)


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
    def depth(self) -> int | None:
        """Bits of the camera's values in 16-bit samples, if the largest value that the file states is ``2^n - 1``."""
        largest = self.tag(281)
        whole = largest > 0 and largest & (largest + 1) == 0
        return largest.bit_length() if whole and 8 <= largest.bit_length() < 16 and self.bits == (16,) else None

    @property
    def raw_planes(self) -> bool:
        """True if the planes are not compressed. Pillow reads such planes of 16 bits as if they were interleaved."""
        return self.planar and self.compression == 1

    @property
    def unnamed_planes(self) -> bool:
        """True if there are uncompressed planes beyond red, green and blue that are no transparency."""
        return self.raw_planes and self.samples > 3 and not ALPHA.intersection(self.tags.get(338, ()))

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
            or (bits == 16 and self._is_16_bit_decoded_here)
            or (bits == 8 and self.planar and (self.photometric != RGB or self.unnamed_planes))
        )

    @property
    def picked_here(self) -> bool:
        """True if single samples can be decoded here, whatever Pillow makes of the whole pixels."""
        plain = self.photometric in (*_PLAIN, SENSOR) and len(self.bits) == 1 and 8 <= self.bits[0] <= 16
        unsigned = self.tag(339, 1) == 1
        predicted = self.tag(317, 1) <= (2 if self.bits[0] in (8, 16) else 1)
        return plain and unsigned and predicted and can_decompress(self.compression)

    @property
    def _is_16_bit_decoded_here(self) -> bool:
        """True for 16-bit planes, whose lower 8 bits Pillow loses, and for white-is-zero, where Pillow has gaps."""
        if self.planar:
            return self.compression == 1 or can_decompress(self.compression)
        return self.photometric == WHITE_IS_ZERO and (self.order == ">" or can_decompress(self.compression))
