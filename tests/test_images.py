"""Every file a camera or an annotator may write is read right, or refused with a reason."""

import struct
import subprocess
import sys
import warnings
import zlib
from contextlib import suppress

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipada.errors import ImageError, ImageKindError, ImageSizeError
from clipada.images import (
    read_header,
    read_rgb,
)
from file_kinds import encoded, png_of_16_bits

RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)


@pytest.fixture(autouse=True)
def _no_warning_leaks():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def noise(height: int = 5, width: int = 7, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


# --- what is read


@pytest.mark.parametrize(
    ("kind", "suffix"), [("PNG", ".png"), ("JPEG", ".jpg"), ("BMP", ".bmp"), ("TIFF", ".tif"), ("WEBP", ".webp")]
)
def test_a_header_tells_size_and_kind_and_decodes_nothing(kind, suffix):
    content = encoded(PIL.Image.fromarray(noise(50, 70)), kind)
    header = read_header(content[:-20] if kind in ("PNG", "JPEG", "BMP") else content)  # the others are read to the end
    assert (header.width, header.height, header.suffix, header.media_type) == (70, 50, suffix, f"image/{kind.lower()}")
    with pytest.raises(ImageSizeError, match="at most 3,499 pixels"):
        read_header(content, 3499)
    with pytest.raises(ImageKindError):
        read_header(b"no image")


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_rgb_files_come_back_exactly(tmp_path, kind):
    array = noise()
    path = tmp_path / "part"
    path.write_bytes(encoded(PIL.Image.fromarray(array), kind))
    read = read_rgb(path)
    assert read.dtype == np.uint8
    assert read.flags.writeable
    np.testing.assert_array_equal(read, array)
    np.testing.assert_array_equal(read_rgb(path.read_bytes()), array)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_files_come_back_nearly(kind):
    array = np.full((16, 16, 3), (200, 40, 90), np.uint8)
    assert np.abs(read_rgb(encoded(PIL.Image.fromarray(array), kind)).astype(int) - array).max() <= 4


def test_gray_and_one_bit_become_three_equal_channels():
    gray = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(read_rgb(encoded(PIL.Image.fromarray(gray))), gray[..., None].repeat(3, 2))
    bits = gray % 2 == 0
    read = read_rgb(encoded(PIL.Image.fromarray(bits)))
    np.testing.assert_array_equal(read, np.where(bits, 255, 0)[..., None].repeat(3, 2))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_gray_maps_full_range_to_full_range(kind):
    values = np.array([[0, 128, 129, 257], [32768, 65407, 65406, 65535]], np.uint16)
    expected = np.array([[0, 0, 1, 1], [128, 255, 254, 255]])
    np.testing.assert_array_equal(read_rgb(encoded(PIL.Image.fromarray(values), kind))[..., 1], expected)


@pytest.mark.parametrize(("bits", "times"), [(10, 64), (12, 16), (14, 4)])
@pytest.mark.parametrize("color", [False, True], ids=["gray", "color"])
def test_a_cameras_10_to_14_bits_in_16_are_reported_once(tmp_path, bits, times, color):
    """In a process of its own, since the warning comes once for each."""
    values = np.linspace(0, 2**bits - 1, 4096).astype(np.uint16).reshape(64, 64)
    hot = values.copy()
    hot[5, 5] = 60000  # a broken pixel of the sensor
    paths = []
    for name, array in (("full", values * times), ("black", values * 0), ("first", hot), ("second", values)):
        paths.append(tmp_path / f"{name}.png")
        paths[-1].write_bytes(png_of_16_bits(np.dstack([array] * 3) if color else array))
    code = "import sys, pathlib, clipada.images as i; [i.read_rgb(pathlib.Path(path)) for path in sys.argv[1:]]"
    warned = subprocess.run([sys.executable, "-c", code, *paths], check=True, capture_output=True, text=True).stderr
    assert warned.count("is read as dark") == 1
    assert f"image {tmp_path / 'first.png'} is read as dark" in warned
    assert f"as from a {bits}-bit camera" in warned
    assert f"{bits}-bit ones times {times}" in warned


def test_a_squashed_image_is_reported_once(tmp_path):
    paths = [tmp_path / f"{width}.png" for width in (64, 256, 257, 1024)]
    for path in paths:
        PIL.Image.new("RGB", (int(path.stem), 64)).save(path)
    code = "import sys, pathlib, clipada.images as i; [i.read_rgb(pathlib.Path(path)) for path in sys.argv[1:]]"
    warned = subprocess.run([sys.executable, "-c", code, *paths], check=True, capture_output=True, text=True).stderr
    assert warned.count("squashed to a square") == 1
    assert f"image {tmp_path / '257.png'} has 257 x 64 pixels" in warned


def test_big_endian_16_bit_tiff_reads_the_same():
    values = np.array([[0, 257, 65535]], ">u2")
    data = tiff_of_16_bit_gray(values)
    assert read_rgb(data)[0, :, 0].tolist() == [0, 1, 255]


def tiff_of_16_bit_gray(values: np.ndarray) -> bytes:
    """A minimal big-endian TIFF, which Pillow cannot write."""
    height, width = values.shape
    tags = [(256, width), (257, height), (258, 16), (259, 1), (262, 1), (273, 8), (277, 1), (278, height)]
    tags.append((279, values.nbytes))
    entries = b"".join(struct.pack(">HHII", tag, 4, 1, value) for tag, value in tags)
    head = struct.pack(">2sHI", b"MM", 42, 8 + values.nbytes)
    return head + values.tobytes() + struct.pack(">H", len(tags)) + entries + struct.pack(">I", 0)


def test_32_bit_integer_gray_is_read_as_16_bit_and_refused_beyond():
    inside = np.array([[0, 65535]], np.int32)
    assert read_rgb(encoded(PIL.Image.fromarray(inside), "TIFF"))[0, :, 0].tolist() == [0, 255]
    with pytest.raises(ImageError, match=r"gray values 0\.\.65535\n  got: 0\.\.65536\n  remedy: .*8-bit"):
        read_rgb(encoded(PIL.Image.fromarray(inside + np.array([0, 1], np.int32)), "TIFF"))
    with pytest.raises(ImageError, match=r"got: -1\.\.65534"):
        read_rgb(encoded(PIL.Image.fromarray(inside - np.int32(1)), "TIFF"))


def test_float_pixels_are_refused():
    with pytest.raises(ImageError, match="float pixels, which have no fixed range") as refusal:
        read_rgb(encoded(PIL.Image.fromarray(np.zeros((2, 2), np.float32)), "TIFF"))
    assert refusal.value.remedy is not None


def test_palette_without_and_with_transparency():
    indexed = PIL.Image.fromarray(np.array([[0, 1, 2]], np.uint8), mode=None).convert("L")
    palette = PIL.Image.frombytes("P", (3, 1), indexed.tobytes())
    palette.putpalette([*RED, *GREEN, 0, 0, 255])
    assert read_rgb(encoded(palette))[0].tolist() == [list(RED), list(GREEN), [0, 0, 255]]
    assert read_rgb(encoded(palette, transparency=1))[0].tolist() == [list(RED), list(WHITE), [0, 0, 255]]
    half = read_rgb(encoded(palette, transparency=bytes([255, 0, 128])))[0].tolist()
    assert half[:2] == [list(RED), list(WHITE)]
    assert half[2] == [127, 127, 255]


def test_transparency_is_laid_over_white():
    rgba = np.array([[[255, 0, 0, 255], [0, 255, 0, 0], [0, 0, 0, 51]]], np.uint8)
    assert read_rgb(encoded(PIL.Image.fromarray(rgba)))[0].tolist() == [list(RED), list(WHITE), [204] * 3]
    gray_alpha = PIL.Image.merge("LA", [PIL.Image.new("L", (2, 1), 10), PIL.Image.new("L", (2, 1), 0)])
    assert read_rgb(encoded(gray_alpha))[0].tolist() == [list(WHITE)] * 2
    keyed = PIL.Image.new("RGB", (1, 1), GREEN)
    assert read_rgb(encoded(keyed, transparency=GREEN))[0].tolist() == [list(WHITE)]


def test_cmyk_becomes_the_rgb_it_stands_for():
    cmyk = PIL.Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert read_rgb(encoded(cmyk, "TIFF"))[3, 3].tolist() == list(RED)
    assert np.abs(read_rgb(encoded(cmyk, "JPEG"))[3, 3].astype(int) - RED).max() <= 4


UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_turns_the_image_upright(kind, orientation):
    stored = PIL.Image.fromarray(noise(24, 16).repeat(8, 0).repeat(8, 1))
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    plain = read_rgb(encoded(stored, kind))
    np.testing.assert_array_equal(read_rgb(encoded(stored, kind, exif=exif)), UPRIGHT[orientation](plain))


def test_16_bit_gray_is_turned_upright_too():
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    values = np.array([[0, 65535]], np.uint16)
    assert read_rgb(encoded(PIL.Image.fromarray(values), "TIFF", exif=exif))[..., 0].tolist() == [[0], [255]]


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_of_an_animation_the_first_frame_counts(kind):
    frames = [PIL.Image.new("RGB", (2, 2), color) for color in (RED, GREEN)]
    animation = encoded(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
    assert read_rgb(animation)[0, 0].tolist() == list(RED)


# --- what is refused


def test_missing_file_folder_and_empty_file(tmp_path):
    with pytest.raises(ImageError, match=r"cannot read image .*gone\.png\n  expected: an image file\n  got: No such"):
        read_rgb(tmp_path / "gone.png")
    with pytest.raises(ImageError, match="got: a folder"):
        read_rgb(tmp_path)
    (tmp_path / "empty.png").touch()
    with pytest.raises(ImageError, match=r"empty\.png\n  expected: an image file\n  got: an empty file"):
        read_rgb(tmp_path / "empty.png")
    with pytest.raises(ImageError, match="cannot read image of 0 bytes"):
        read_rgb(b"")


@pytest.mark.parametrize("content", [b"not an image at all", b"%PDF-1.7", b"GIF89a" + bytes(20)])
def test_other_files_are_named_as_such(tmp_path, content):
    path = tmp_path / "part.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"part\.png\n  expected: PNG, JPEG.*\n  got: another kind of file"):
        read_rgb(path)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
def test_truncated_files_are_called_damaged_at_every_length(kind):
    content = encoded(PIL.Image.fromarray(noise(40, 40)), kind)
    with pytest.raises(ImageError, match=r"(?s)a whole image file\n  got: damaged.*remedy: copy or export"):
        read_rgb(content[: len(content) * 3 // 4])
    for length in range(1, len(content) * 3 // 4, max(1, len(content) // 60)):
        with pytest.raises(ImageError):
            read_rgb(content[:length])


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["PNG", "JPEG", "BMP", "TIFF", "WEBP"]),
    flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1, max_size=8),
)
def test_damage_never_raises_anything_but_an_image_error(kind, flips):
    content = bytearray(encoded(PIL.Image.fromarray(noise(9, 9)), kind))
    for place, change in flips:
        content[place % len(content)] ^= change
    with suppress(ImageError):
        assert read_rgb(bytes(content)).ndim == 3


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    end = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    return b"\x89PNG\r\n\x1a\n" + body + end


def test_huge_images_are_refused_before_decoding():
    with pytest.raises(ImageError, match=r"too large\n  expected: at most 178,956,970 pixels\n  got: .*400000000"):
        read_rgb(png_header(20_000, 20_000))


def test_the_limit_is_the_package_s_own(monkeypatch):
    monkeypatch.setattr("clipada.images.reading.MAX_PIXELS", 20)
    assert read_rgb(encoded(PIL.Image.fromarray(noise(4, 5)))).shape == (4, 5, 3)
    with pytest.raises(ImageError, match=r"at most 20 pixels\n  got: 7 x 3 = 21 pixels"):
        read_rgb(encoded(PIL.Image.fromarray(noise(3, 7))))


def test_images_pillow_would_warn_about_raise_no_warning(monkeypatch):
    before = PIL.Image.MAX_IMAGE_PIXELS
    with pytest.raises(ImageError, match="damaged"):
        read_rgb(png_header(10_000, 10_000))
    assert before == PIL.Image.MAX_IMAGE_PIXELS
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 20)
    assert read_rgb(encoded(PIL.Image.fromarray(noise(5, 6)))).shape == (5, 6, 3)


def test_torch_is_not_imported():
    code = "import sys, clipada.images, clipada.data; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
