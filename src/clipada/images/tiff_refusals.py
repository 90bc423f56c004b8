"""Layouts of TIFF pixels that cannot be read right, each with the reason and a remedy."""

from __future__ import annotations

from clipada.config.image_rules import ImageRules
from clipada.errors import ImageKindError
from clipada.images.decoding import EIGHT_BIT_REMEDY
from clipada.images.tiff_codecs import EXTRA, can_decompress, codec_name, has_extra, needs_extra
from clipada.images.tiff_page import ALPHA, BLACK_IS_ZERO, SENSOR, WHITE_IS_ZERO, TiffPage

MAX_SAMPLES = 8
"""Largest number of samples of a pixel where none are chosen: red, green and blue with some more."""

MAX_VALUES = 2**30
"""Largest number of values of a page of which some samples are chosen, all samples together."""

_PHOTOMETRIC = {
    0: "gray",
    1: "gray",
    2: "RGB",
    3: "palette colors",
    4: "a transparency mask",
    5: "CMYK colors",
    6: "YCbCr colors",
    8: "Lab colors",
}
_LAB = 8
_LINEAR_RAW = 34892
_SIGNED, _FLOAT = 2, 3
_WEBP = 50001
_INTERLEAVED_REMEDY = "save it uncompressed with interleaved samples, or as PNG"


def require_readable(page: TiffPage, name: str, rules: ImageRules) -> None:
    """Raise ``ImageKindError`` for pixels whose meaning is unknown, or that neither reader reads right."""
    if rules.numbers and page.picked_here:
        if page.width * page.height * page.samples > MAX_VALUES:
            raise _refused(name, f"{page.samples} channels of {page.width} x {page.height} pixels", "cut it into parts")
        return
    if rules.pattern is not None and page.photometric == SENSOR and page.samples == 1 and page.picked_here:
        return
    for wrong, got, remedy in (*_meanings(page), *_codings(page)):
        if wrong:
            raise _refused(name, got, remedy)


def unread(page: TiffPage, name: str) -> ImageKindError:
    """Return the error for a layout of pixels that nothing here can read."""
    bits = " + ".join(map(str, page.bits))
    kind = _PHOTOMETRIC.get(page.photometric, f"photometric interpretation {page.photometric}")
    planes = ", in planes" if page.planar else ""
    compression = "" if page.compression == 1 else f", {codec_name(page.compression)}"
    return _refused(name, f"a TIFF of {page.samples} x {bits} bits, {kind}{planes}{compression}", EIGHT_BIT_REMEDY)


def low_bits_refusal(page: TiffPage, name: str) -> ImageKindError:
    """Return the error for compressed 16-bit planes, of which Pillow decodes the upper 8 bits only."""
    got = f"16-bit planes in a TIFF with {codec_name(page.compression)}, of which only the upper 8 bits can be decoded"
    return _refused(name, got, _coding_remedy(page))


def _meanings(page: TiffPage) -> list[tuple[bool, str, str]]:
    """List conditions, with reason and remedy, under which the values have no meaning as gray or color."""
    kind, bits, samples = page.tag(339, 1), max(page.bits), page.samples
    gray = page.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO)
    floats = kind == _FLOAT and (bits != 32 or samples > 1)
    unnamed = f"{samples} channels, and the file does not say which are red, green and blue"
    bayer = "raw values of a color sensor (a Bayer pattern)"
    raw_remedy = "train with --channels bayer-rggb, -bggr, -grbg or -gbrg, or convert it with the camera's software"
    one_of = "train with --channels and the numbers of one or three, e.g. 3,2,1, or save them as RGB or gray"
    return [
        (kind == _SIGNED and bits != 32, f"signed {bits}-bit pixels, which have no fixed range", EIGHT_BIT_REMEDY),
        (floats, "float pixels, which have no fixed range", EIGHT_BIT_REMEDY),
        (page.photometric in (SENSOR, _LINEAR_RAW), bayer, raw_remedy),
        (gray and samples > 2, unnamed, one_of),
        (samples > MAX_SAMPLES, f"{samples} channels", one_of),
        (page.photometric == WHITE_IS_ZERO and bits == 32, "32-bit gray whose zero is white", EIGHT_BIT_REMEDY),
    ]


def _codings(page: TiffPage) -> list[tuple[bool, str, str]]:
    """List conditions, with reason and remedy, under which the values can be understood, but not decoded."""
    ours, bits = page.decoded_here, page.bits[0]
    unread_planes = not ours and page.planar and (page.photometric == _LAB or (page.raw_planes and max(page.bits) > 8))
    planes = f"{_PHOTOMETRIC.get(page.photometric, 'colors')} in planes"
    alpha = ours and bool(ALPHA.intersection(page.tags.get(338, ())))
    coded = not can_decompress(page.compression) or page.tag(317, 1) > (2 if bits in (8, 16) else 1)
    got = f"{bits}-bit pixels in a TIFF with {codec_name(page.compression)}"
    return [
        (page.compression == _WEBP, "a TIFF compressed as WebP", _INTERLEAVED_REMEDY),
        (unread_planes, planes, _INTERLEAVED_REMEDY),
        (alpha, f"{bits}-bit transparency that is packed or in planes", _INTERLEAVED_REMEDY),
        (ours and coded, got, _coding_remedy(page)),
    ]


def _coding_remedy(page: TiffPage) -> str:
    missing = needs_extra(page.compression) and not has_extra()
    return f"{EXTRA}; or {_INTERLEAVED_REMEDY}" if missing else _INTERLEAVED_REMEDY


def _refused(name: str, got: str, remedy: str) -> ImageKindError:
    return ImageKindError(f"cannot read image {name}", expected="8-bit or 16-bit gray or color", got=got, remedy=remedy)
