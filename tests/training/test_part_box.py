"""The part's box: found where good images agree, left out where they do not."""

import numpy as np
import torch

from clipada.training.part_box import WHOLE, part_box

GRID = (16, 16)


def photos(place, count: int = 24, texture: float = 0.0) -> np.ndarray:
    """Gray photos with a speckled disc of radius 20 of 128 pixels around ``place(index)``."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:128, :128]
    images = []
    for index in range(count):
        top, left = place(index)
        image = 90 + rng.normal(0, texture, (128, 128))
        disc = (rows - top) ** 2 + (columns - left) ** 2 < 400
        image[disc] = 160 + rng.normal(0, 30, disc.sum())
        images.append(np.repeat(image[..., None], 3, axis=2))
    return np.clip(images, 0, 255).astype(np.uint8)


def distances(images: np.ndarray) -> torch.Tensor:
    """The spread of each cell, as a stand-in for distances to other images, ``(n, N, 1)``."""
    cells = images.mean(3).reshape(len(images), 16, 8, 16, 8).std((2, 4))
    return torch.from_numpy(cells.reshape(len(images), 256, 1)) / 255


def test_a_part_that_stays_in_place_gets_its_box() -> None:
    images = photos(lambda _: (64, 64))
    left, top, right, bottom = part_box(distances(images), images, GRID)
    assert 0.2 < left < 0.36
    assert 0.2 < top < 0.36
    assert 0.64 < right < 0.8
    assert 0.64 < bottom < 0.8
    assert right - left == bottom - top


def test_parts_that_lie_anywhere_keep_the_whole_image() -> None:
    rng = np.random.default_rng(1)
    images = photos(lambda _: tuple(rng.integers(20, 108, 2)), count=40)
    assert part_box(distances(images), images, GRID) == WHOLE


def test_a_texture_keeps_the_whole_image() -> None:
    images = np.random.default_rng(2).integers(0, 256, (20, 128, 128, 3), dtype=np.uint8)
    assert part_box(distances(images), images, GRID) == WHOLE


def test_one_image_is_too_few() -> None:
    images = photos(lambda _: (64, 64), count=1)
    assert part_box(distances(images), images, GRID) == WHOLE


def test_plain_images_have_no_box() -> None:
    images = np.full((10, 128, 128, 3), 80, np.uint8)
    assert part_box(torch.zeros(10, 256, 2), images, GRID) == WHOLE
