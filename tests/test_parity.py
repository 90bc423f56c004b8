"""The shortcut's threshold: chosen on some images, kept only if others bear it out."""

import numpy as np
import pytest

from clipada.config import ScoringConfig
from clipada.engines.graph import GraphEngine
from clipada.exporting.parity import measure_shortcut

SCORING = ScoringConfig(sigma=0, top_pixels=1)
SIDE = 32


def engine(error: float) -> GraphEngine:
    """Pass 0 sees an image's brightness; pass 1 sees ``error`` more of it when it has looked again."""

    def look(images: np.ndarray, gain: np.ndarray) -> np.ndarray:
        brightness = images[..., 0].astype(np.float32) / 255
        seen = np.stack([brightness, brightness * (1 + error * (gain.max(axis=(1, 2), keepdims=True) - 1))], axis=1)
        return seen[..., :1, :1]

    return GraphEngine(look, image_size=SIDE, passes=2, attention="residual")


def grey(levels: list[int]) -> np.ndarray:
    return np.repeat(np.array(levels, np.uint8), SIDE * SIDE * 3).reshape(-1, SIDE, SIDE, 3)


def test_the_threshold_is_where_half_the_bound_is_reached() -> None:
    levels = list(range(0, 250, 5))  # the error of level v is (v / 255) ** 2
    shortcut = measure_shortcut(engine(1.0), grey(levels), SCORING, bound=0.08)
    assert shortcut is not None
    chosen = [v / 255 for v in levels[::2] if (v / 255) ** 2 > 0.04]
    assert shortcut.cold_below == pytest.approx(chosen[0], abs=1e-6)
    skipped = [v / 255 for v in levels[1::2] if v / 255 < chosen[0]]
    assert shortcut.skipped == pytest.approx(len(skipped) / 25)
    assert shortcut.map_error == pytest.approx(max(skipped) ** 2, abs=1e-6)
    assert shortcut.score_error == pytest.approx(shortcut.map_error, abs=1e-6)


def test_a_threshold_that_other_images_break_is_dropped() -> None:
    levels = [200, 90] * 4  # chosen on bright images alone: the darker ones are all below what breaks
    shortcut = measure_shortcut(engine(1.0), grey(levels), SCORING, bound=0.1)
    assert shortcut is not None
    assert shortcut.map_error > 0.1
    assert shortcut.cold_below == 0


def test_a_threshold_that_nothing_speaks_for_is_dropped() -> None:
    shortcut = measure_shortcut(engine(1.0), grey([100, 250] * 4), SCORING, bound=0.1)
    assert shortcut is not None
    assert shortcut.skipped == 0
    assert shortcut.cold_below == 0
