"""Pixel metrics of a stream against the exact ones: within the error they state, whatever the scores' order."""

from contextlib import ExitStack
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from clipada.evaluation.metrics import (
    PixelFigures,
    PixelMetrics,
    aupro,
    auroc,
    average_precision,
    f1_max,
    streaming,
    summaries,
)

FIGURES = ("auroc", "average_precision", "f1_max", "aupro")
ROUNDING = 1e-9


def streamed(maps: np.ndarray, masks: np.ndarray, **sizes: float) -> PixelMetrics:
    """The accumulator after all maps, with module sizes of its own; summaries are those of these sizes."""
    places = {"NORMAL_ERROR": summaries, "ANOMALOUS_POINTS": summaries}
    with ExitStack() as stack:
        for name, size in sizes.items():
            stack.enter_context(mock.patch.object(places.get(name, streaming), name, size))
        pixels = PixelMetrics()
        for values, mask in zip(maps, masks, strict=True):
            pixels.update(values, mask)
        pixels.computed = pixels.compute()
    return pixels


def exact(maps: np.ndarray, masks: np.ndarray) -> dict[str, float]:
    return {
        "auroc": auroc(maps, masks),
        "average_precision": average_precision(maps, masks),
        "f1_max": f1_max(maps, masks),
        "aupro": aupro(maps, masks),
    }


def farthest(figures: PixelFigures, truth: dict[str, float]) -> float:
    return max(abs(getattr(figures, name) - truth[name]) for name in FIGURES)


@st.composite
def streams(draw):
    """Many small maps with ties or without, and masks with both classes."""
    shape = draw(st.tuples(st.integers(4, 40), st.integers(2, 5), st.integers(2, 5)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    masks = rng.random(shape) < draw(st.sampled_from([0.05, 0.3, 0.9]))
    masks[0, 0, :2] = [True, False]
    maps = rng.random(shape) + draw(st.sampled_from([-1.0, 0.0, 0.3])) * masks
    if draw(st.booleans()):
        maps = maps.round(draw(st.integers(0, 2)))
    order = draw(st.sampled_from(["mixed", "rising", "anomalies first"]))
    if order != "mixed":
        key = maps.ravel() if order == "rising" else ~masks.ravel()
        places = np.argsort(key, kind="stable")
        maps, masks = maps.ravel()[places].reshape(shape), masks.ravel()[places].reshape(shape)
    return maps.astype(np.float32), masks


@settings(max_examples=150, deadline=None)
@given(streams(), st.integers(4, 60), st.sampled_from([0.02, 0.3]), st.sampled_from([4, 12, 40]), st.integers(0, 3))
def test_the_exact_figures_lie_within_the_stated_error(case, chunk, share, points, levels):
    """Sizes so coarse that errors are large: a bound that is wrong shows."""
    maps, masks = case
    figures = streamed(maps, masks, CHUNK=chunk, NORMAL_ERROR=share, ANOMALOUS_POINTS=points, LEVELS=levels).computed
    assert farthest(figures, exact(maps, masks)) <= figures.error + ROUNDING


def stairs(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Precision falls by half again and again: as many normal scores stand above each next anomalous one."""
    return np.where(labels, -rng.integers(0, 20, labels.size), np.log2(rng.random(labels.size)))


SHAPES = {
    "smooth": lambda labels, rng: rng.beta(1, 8, labels.size) + labels * rng.beta(2, 6, labels.size),
    "saturated": lambda labels, rng: 1 / (1 + np.exp(-rng.normal(0, 6, labels.size) - 12 * labels)),
    "in the last digits": lambda labels, rng: 1 + 1e-5 * (rng.normal(size=labels.size) + labels),
    "over all magnitudes": lambda labels, rng: np.exp(rng.uniform(-80, 80, labels.size) + 5 * labels),
    "negative": lambda labels, rng: -np.exp(rng.normal(0, 3, labels.size) - labels),
    "constant": lambda labels, _: np.full(labels.size, 0.3),
    "five values": lambda labels, rng: rng.integers(0, 5, labels.size) / 7 + 0.1 * labels,
    "worse than chance": lambda labels, rng: rng.random(labels.size) - 0.5 * labels,
    "with outliers": lambda labels, rng: np.where(rng.random(labels.size) < 1e-4, 1e30, rng.random(labels.size)),
    "stairs": stairs,
}


@pytest.mark.parametrize("share", [0.5, 0.002])
@pytest.mark.parametrize("shape", SHAPES)
def test_to_a_ten_thousandth_on_any_distribution(shape, share):
    """The sizes in use but for the chunk: scores move up to five times, as they would in a thousand million pixels."""
    rng = np.random.default_rng(0)
    labels = rng.random(200_000) < share
    scores = SHAPES[shape](labels, rng).astype(np.float32)
    maps, masks = scores.reshape(100, 1, -1), labels.reshape(100, 1, -1)
    pixels = streamed(maps, masks, CHUNK=2**11, ANOMALOUS_POINTS=2**16)
    assert pixels.computed.error < 1e-4
    assert farthest(pixels.computed, exact(maps, masks)) <= pixels.computed.error + ROUNDING
    assert pixels.computed.auroc == pytest.approx(roc_auc_score(labels, scores), abs=1e-4)
    assert pixels.computed.average_precision == pytest.approx(average_precision_score(labels, scores), abs=1e-4)


@settings(max_examples=50, deadline=None)
@given(streams(), st.randoms(use_true_random=False))
def test_neither_order_nor_chunks_matter_beyond_the_stated_error(case, random):
    maps, masks = case
    order = list(range(len(maps)))
    random.shuffle(order)
    once = streamed(maps, masks).computed
    assert once.error == 0
    for sizes in ({"CHUNK": 30}, {"CHUNK": 70, "FAN_IN": 2}):
        other = streamed(maps[order], masks[order], **sizes).computed
        assert all(abs(getattr(once, name) - getattr(other, name)) <= other.error + ROUNDING for name in FIGURES)


def test_up_to_a_chunk_the_figures_are_exact():
    rng = np.random.default_rng(2)
    masks = rng.random((7, 30, 40)) < 0.1
    maps = rng.random(masks.shape).astype(np.float32)
    figures = streamed(maps, masks).computed
    assert figures.error == 0
    assert farthest(figures, exact(maps, masks)) < ROUNDING


def test_figures_can_be_asked_for_again_and_again():
    rng = np.random.default_rng(3)
    masks = rng.random((40, 10, 10)) < 0.2
    maps = rng.random(masks.shape).astype(np.float32)
    with mock.patch.object(streaming, "CHUNK", 500), mock.patch.object(summaries, "NORMAL_ERROR", 0.01):
        pixels, seen = PixelMetrics(), []
        for count, (values, mask) in enumerate(zip(maps, masks, strict=True), start=1):
            pixels.update(values, mask)
            seen.append((pixels.compute(), exact(maps[:count], masks[:count])))
        assert pixels.compute() == pixels.compute()
    assert all(farthest(figures, truth) <= figures.error + ROUNDING for figures, truth in seen)


@pytest.mark.parametrize("order", ["mixed", "rising"])
def test_memory_does_not_grow_with_the_pixels(order):
    """Sixteen times the pixels need no more arrays, but for the few steps a larger rank range adds."""
    rng = np.random.default_rng(4)
    scores = rng.random(2**19, dtype=np.float32)
    scores = np.sort(scores) if order == "rising" else scores
    maps = scores.reshape(512, 32, 32)
    masks = rng.random(maps.shape) < 0.3
    sizes = {"CHUNK": 2**11, "NORMAL_ERROR": 0.01, "ANOMALOUS_POINTS": 2**8, "LEVELS": 2}
    sixteenth, whole = (streamed(maps[:count], masks[:count], **sizes).nbytes for count in (32, 512))
    ranks = np.log(2**19 * 0.01) / 0.01 + 100
    summary = 2 * (2 * ranks * 12 + 2**8 * 20)
    assert whole <= sixteenth + 3 * 3 * summary
    assert whole < maps.nbytes / 4


def test_what_is_kept_of_a_million_million_pixels_stays_below_a_gibibyte():
    """By arithmetic: the largest arrays of as many summaries as there can be, and a chunk of anomalous pixels."""
    edges = summaries.normal_edges(10**12).size
    largest = 2 * (2 * edges * (4 + 8) + summaries.ANOMALOUS_POINTS * (4 + 8 + 8))
    count = (streaming.FAN_IN - 1) * (streaming.LEVELS + 1)
    assert count * largest + streaming.CHUNK * (4 + 8) < 2**30


def test_what_is_undefined_is_none():
    pixels = PixelMetrics()
    assert pixels.compute() is None
    pixels.update(np.zeros((3, 3), np.float32), np.zeros((3, 3), bool))
    assert pixels.compute() is None
    pixels.update(np.zeros((3, 3), np.float32), np.eye(3, dtype=bool))
    assert pixels.compute().auroc == 0.5
    pixels.update(np.full((3, 3), np.nan, np.float32), np.eye(3, dtype=bool))
    assert pixels.compute() is None


def test_a_map_is_not_held_by_its_caller():
    """An engine may use the same memory for its next map."""
    values, mask = np.zeros((2, 2), np.float32), np.zeros((2, 2), bool)
    pixels = PixelMetrics()
    pixels.update(values, mask)
    values[:] = 1
    pixels.update(values, ~mask)
    assert pixels.compute().auroc == 1
