"""A stand-in for the model, and images to send to it."""

import io
import threading
from collections.abc import Callable

import numpy as np
import PIL.Image
from starlette.testclient import TestClient

from clipada.types import Localization

Started = Callable[..., TestClient]
"""Starts an application with settings of `ServeConfig`, `token` and `models`, and hands over a client of it."""


class StandIn:
    """Finds what is red, and works only while ``open`` is set; ``batches`` has the number of images of each batch."""

    size = (64, 64)
    depth = None
    passes = 1

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.batches: list[int] = []

    def localize(self, images: np.ndarray) -> Localization:
        assert self.open.wait(20)
        self.batches.append(len(images))
        return Localization(maps=images[np.newaxis, ..., 0].astype(np.float32) / 255)


class BrightEngine:
    """Finds what is bright: the map is the red channel, 0..1, and pass 0 is its complement."""

    size = (64, 64)
    depth = None
    passes = 2

    def localize(self, images: np.ndarray) -> Localization:
        red = images[..., 0].astype(np.float32) / 255
        return Localization(maps=np.stack([1 - red, red]))


def encoded(height: int = 20, width: int = 30, seed: int = 0, kind: str = "PNG", below: int = 256) -> bytes:
    """An image file of noise, its values less than ``below``."""
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, below, (height, width, 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(file, format=kind)
    return file.getvalue()
