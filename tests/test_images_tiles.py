"""Tiles: they cover an image exactly, and a coordinate ramp comes back exactly from their maps."""

import numpy as np
import pytest

from clipada.images import resize
from clipada.images.tiles import JoinedMap, Tiles, plan_tiles

CASES = [
    ((1000, 1000), (322, 322), 322, 0.25),
    ((700, 1100), (64, 96), 200, 0.4),
    ((100, 3000), (322, 322), 448, 0.25),
    ((640, 210), (32, 32), 64, 0.0),
    ((999, 1501), (64, 64), 160, 0.5),
    ((2000, 3000), (64, 64), 64, 0.25),
]


def rejoined(tiles: Tiles, values: np.ndarray) -> np.ndarray:
    """Cut a map of the joined size into what the model would say of each tile, and join that."""
    joined = JoinedMap(tiles, 1)
    for number in range(len(tiles)):
        part = values[tiles.window(number)]
        joined.add(number, np.kron(part, np.ones((tiles.shrink, tiles.shrink), np.float32))[np.newaxis])
    return joined.maps[0]


@pytest.mark.parametrize(("image", "size", "side", "overlap"), CASES)
@pytest.mark.parametrize("most", [12_000_000, 100_000])
def test_a_coordinate_ramp_comes_back_exactly(
    image: tuple[int, int], size: tuple[int, int], side: int, overlap: float, most: int
) -> None:
    tiles = plan_tiles(image, size, side, overlap, most)
    ramp = np.add.outer(np.arange(tiles.joined[0]), 2 * np.arange(tiles.joined[1])).astype(np.float32)
    assert np.abs(rejoined(tiles, ramp) - ramp).max() <= 1e-6 * ramp.max()


@pytest.mark.parametrize(("image", "size", "side", "overlap"), CASES)
def test_tiles_are_alike_evenly_spaced_and_overlap_enough(
    image: tuple[int, int], size: tuple[int, int], side: int, overlap: float
) -> None:
    tiles = plan_tiles(image, size, side, overlap)
    for starts, length, tile in zip((tiles.rows, tiles.columns), tiles.joined, tiles.tile, strict=True):
        assert starts[0] == 0
        assert starts[-1] + tile == length
        steps = np.diff(starts)
        assert len(steps) == 0 or (steps.max() - steps.min() <= 1 and steps.max() <= round(tile * (1 - overlap)))


def test_a_large_image_has_a_bounded_map() -> None:
    tiles = plan_tiles((10_000, 10_000), (322, 322), 322, 0.25)
    assert tiles.joined[0] * tiles.joined[1] <= 12_000_000
    assert len(tiles) == 42 * 42


def test_an_image_of_one_tile_is_resized_as_a_whole_image_is() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (100, 104, 3), dtype=np.uint8)
    tiles = plan_tiles((100, 104), (64, 64), 100, 0.25)
    assert len(tiles) == 1
    assert tiles.joined == (64, 64)
    np.testing.assert_array_equal(tiles.cut(pixels, 0), resize(pixels, (64, 64)))


def test_tiles_at_the_model_s_own_scale_are_the_image_s_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    tiles = plan_tiles((150, 200), (64, 64), 64, 0.25)
    for number in range(len(tiles)):
        np.testing.assert_array_equal(tiles.cut(pixels, number), pixels[tiles.window(number)])


def test_tiles_of_a_resized_image_meet_without_an_edge() -> None:
    """Where two tiles show the same place, they show the same pixels, though each is resized by itself."""
    rows, columns = np.meshgrid(np.arange(300), np.arange(420), indexing="ij")
    wave = 127 + 100 * np.sin(rows / 9) * np.cos(columns / 7)
    pixels = np.repeat(np.rint(wave)[..., np.newaxis], 3, axis=2).astype(np.uint8)
    tiles = plan_tiles((300, 420), (64, 64), 150, 0.3)
    seen = np.full((2, *tiles.joined), np.nan)
    for number in range(len(tiles)):
        where = tiles.window(number)
        new = tiles.cut(pixels, number)[..., 0].astype(float)
        seen[0][where], seen[1][where] = np.fmin(seen[0][where], new), np.fmax(seen[1][where], new)
    assert (seen[1] - seen[0]).max() <= 2
