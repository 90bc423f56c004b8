"""An engine over tiles: maps without seams, one map and score for an image, the product found in the whole image."""

import numpy as np
import pytest

from clipada.config import InspectionConfig
from clipada.engines.tiled import TiledEngine, image_tiles, with_view
from clipada.images import resize
from clipada.types import ImageEngine, Localization
from stand_in import BrightEngine

SETTINGS = InspectionConfig(view="tiles", tile=64, overlap=0.25)


class Named:
    """Finds what is bright, by a score of its own; takes what is bright on the whole for the second product."""

    size = (64, 64)
    depth = None
    passes = 1
    products = ("dark", "bright")

    def __init__(self) -> None:
        self.asked: list[tuple[str | None, ...]] = []

    def localize(self, images: np.ndarray, products: list[str | None] | None = None) -> Localization:
        self.asked.append(tuple(products or ()))
        red = images[..., 0].astype(np.float32) / 255
        means = red.mean(axis=(1, 2))
        given = products or [None] * len(images)
        found = [mean > 0.5 if one is None else one == "bright" for one, mean in zip(given, means, strict=True)]
        return Localization(maps=red[None], scores=means.astype(np.float64), products=np.array(found, np.int64))


def smooth_image(height: int, width: int) -> np.ndarray:
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    red = 120 + 90 * np.sin(rows / 40) * np.cos(columns / 50)
    return np.repeat(np.rint(red)[..., np.newaxis], 3, axis=2).astype(np.uint8)


def small(image: np.ndarray) -> np.ndarray:
    return resize(image, (64, 64))


def test_the_map_of_a_tiled_image_is_the_map_of_its_places() -> None:
    image = smooth_image(150, 210)
    found = TiledEngine(BrightEngine(), SETTINGS).localize_image(image, small(image))
    assert found.maps.shape == (2, 150, 210)
    assert found.view == (64, 64)
    np.testing.assert_allclose(found.maps[1], image[..., 0] / 255, atol=1e-6)


@pytest.mark.parametrize("at_once", [1, 3, 8])
def test_batches_of_tiles_do_not_change_the_map(at_once: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (150, 210, 3), dtype=np.uint8)
    every = TiledEngine(BrightEngine(), SETTINGS, at_once=100).localize_image(image, small(image))
    found = TiledEngine(BrightEngine(), SETTINGS, at_once=at_once).localize_image(image, small(image))
    np.testing.assert_array_equal(found.maps, every.maps)


def test_an_image_of_one_tile_has_the_map_of_the_whole_view() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    found = TiledEngine(BrightEngine(), SETTINGS).localize_image(image, small(image))
    np.testing.assert_array_equal(found.maps, BrightEngine().localize(image[None]).maps[:, 0])


def test_the_product_is_found_in_the_whole_image_and_the_score_is_that_of_the_worst_tile() -> None:
    image = np.full((200, 200, 3), 200, np.uint8)
    image[:100, :100] = 0  # tiles that show only this would be taken for the dark product
    engine = Named()
    found = TiledEngine(engine, SETTINGS).localize_image(image, small(image))
    assert found.product == 1
    assert engine.asked[0] == (None,)
    assert {name for batch in engine.asked[1:] for name in batch} == {"bright"}
    assert found.score == pytest.approx(200 / 255)


def test_a_given_product_is_that_of_all_tiles() -> None:
    image = np.full((200, 200, 3), 200, np.uint8)
    engine = Named()
    TiledEngine(engine, SETTINGS).localize_image(image, small(image), "dark")
    assert {name for batch in engine.asked for name in batch} == {"dark"}


def test_progress_is_reported_within_an_image() -> None:
    image, engine = smooth_image(150, 210), TiledEngine(BrightEngine(), SETTINGS, at_once=5)
    seen: list[tuple[int, int, int]] = []
    engine.on_tiles = lambda *counts: seen.append(counts)
    engine.localize_image(image, small(image))
    assert seen == [(5, 15, 0), (10, 15, 0), (15, 15, 0)]


def test_only_tiles_change_the_engine() -> None:
    engine = BrightEngine()
    assert with_view(engine, InspectionConfig()) is engine
    assert not isinstance(engine, ImageEngine)
    assert isinstance(with_view(engine, SETTINGS), ImageEngine)
    assert len(image_tiles(SETTINGS, (64, 64), (64, 64))) == 1
