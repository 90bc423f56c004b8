"""Metrics against closed forms, and their means over categories."""

import numpy as np
import pytest
from hypothesis import given, settings

from clipada.errors import ClipAdaError
from clipada.evaluation.metrics import (
    AUPRO_FPR_LIMIT,
    CategoryMetrics,
    aupro,
    auroc,
    average_precision,
    evaluate_maps,
    f1_max,
    mean_metrics,
)
from drawn import TIED, labeled_scores, maps_and_masks

TOLERANCE = 1e-9
NAMES = [
    "image_auroc",
    "pixel_auroc",
    "pixel_ap",
    "aupro",
    "image_ap",
    "image_f1_max",
    "pixel_f1_max",
    "n_normal",
    "n_anomalous",
]


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_constant_score_knows_nothing(share):
    labels = np.arange(100) < 100 * share
    scores = np.full(100, 0.7)
    assert auroc(scores, labels) == 0.5
    assert average_precision(scores, labels) == pytest.approx(share)
    assert f1_max(scores, labels) == pytest.approx(2 * share / (1 + share))


def test_perfect_and_inverted_scores():
    labels = np.arange(10) >= 6
    rising = np.arange(10) / 10
    assert [metric(rising, labels) for metric in (auroc, average_precision, f1_max)] == [1, 1, 1]
    assert auroc(-rising, labels) == 0
    # The k-th anomalous score comes after 6 normal ones: precision k / (6 + k).
    assert average_precision(-rising, labels) == pytest.approx(np.mean([k / (6 + k) for k in range(1, 5)]))
    assert f1_max(-rising, labels) == pytest.approx(2 * 4 / (10 + 4))


@settings(deadline=None)
@given(labeled_scores(elements=TIED))
def test_only_the_order_of_scores_counts(case):
    scores, labels = case
    for metric in (auroc, average_precision, f1_max):
        assert metric(np.exp(3 * scores) - 7, labels) == metric(scores, labels)


@settings(deadline=None)
@given(labeled_scores())
def test_auroc_of_swapped_classes_is_its_complement(case):
    scores, labels = case
    assert auroc(scores, ~labels) == pytest.approx(1 - auroc(scores, labels), abs=TOLERANCE)


@settings(deadline=None)
@given(maps_and_masks())
def test_aupro_of_special_maps(case):
    _, masks = case
    assert aupro(masks.astype(np.float32), masks) == pytest.approx(1, abs=TOLERANCE)
    assert aupro(1 - masks.astype(np.float32), masks) == 0
    # A constant map gives the diagonal: limit**2 / 2 / limit.
    assert aupro(np.full(masks.shape, 0.4), masks) == pytest.approx(AUPRO_FPR_LIMIT / 2, abs=TOLERANCE)
    assert aupro(np.full(masks.shape, 0.4), masks, 1.0) == pytest.approx(0.5, abs=TOLERANCE)


@settings(deadline=None)
@given(maps_and_masks())
def test_aupro_needs_the_order_of_values_alone(case):
    maps, masks = case
    ranks = np.unique(maps, return_inverse=True)[1].reshape(maps.shape)
    assert aupro(np.sqrt(ranks), masks) == pytest.approx(aupro(maps, masks), abs=TOLERANCE)


def test_aupro_counts_regions_alike_whatever_their_size():
    mask = np.zeros((1, 20, 20), bool)
    mask[0, :10, :10] = True
    mask[0, 15, 15] = mask[0, 16, 16] = True  # one region: they touch at a corner
    found = np.zeros((1, 20, 20))
    found[0, 15, 15] = 1
    # Half of one region of two without a false positive, then the diagonal to (1, 1).
    expected = 0.25 + 0.75 * 0.3 / 2
    assert aupro(found, mask) == pytest.approx(expected, abs=TOLERANCE)


def test_aupro_takes_maps_of_different_sizes():
    rng = np.random.default_rng(1)
    maps = [rng.random((5, 7)), rng.random((4, 3))]
    masks = [np.eye(5, 7, dtype=bool), np.zeros((4, 3), bool)]
    # With one region (the diagonal touches at corners) and no limit, overlap is the true positive rate.
    pixels, labels = (np.concatenate([one.ravel() for one in pair]) for pair in (maps, masks))
    assert aupro(maps, masks, 1.0) == pytest.approx(auroc(pixels, labels), abs=TOLERANCE)


@pytest.mark.parametrize(
    ("scores", "labels", "words"),
    [
        ([0.1, 0.2], [1, 1], "0 normal and 2 anomalous"),
        ([0.1, 0.2], [0, 0], "2 normal and 0 anomalous"),
        ([], [], "0 normal and 0 anomalous"),
        ([0.1, np.nan], [0, 1], "NaN"),
        ([0.1, np.inf], [0, 1], "infinity"),
        ([0.1, 0.2, 0.3], [0, 1], r"shape \(2,\)"),
        ([0.1, 0.2], [0, 2], "1 and 0"),
        ([0.1, 0.2], [0, 0.5], "1 and 0"),
    ],
)
def test_undefined_metrics_raise(scores, labels, words):
    for metric in (auroc, average_precision, f1_max):
        with pytest.raises(ClipAdaError, match=words):
            metric(np.array(scores), np.array(labels))


def test_undefined_aupro_raises():
    maps, masks = np.zeros((1, 3, 3)), np.eye(3, dtype=bool)[np.newaxis]
    with pytest.raises(ClipAdaError, match="0 normal"):
        aupro(maps, np.ones_like(masks))
    with pytest.raises(ClipAdaError, match="0 anomalous"):
        aupro(maps, np.zeros_like(masks))
    with pytest.raises(ClipAdaError, match="does not fit"):
        aupro(maps, masks[:, :2])
    with pytest.raises(ClipAdaError, match="1 maps, 2 masks"):
        aupro(maps, np.concatenate([masks, masks]))
    with pytest.raises(ClipAdaError, match="above 0"):
        aupro(maps, masks, 0.0)


def category(seed=0, normal=3, anomalous=4):
    rng = np.random.default_rng(seed)
    labels = np.arange(normal + anomalous) >= normal
    masks = np.zeros((labels.size, 9, 11), bool)
    masks[labels, 2:5, 3:7] = True
    maps = (rng.random(masks.shape) + 0.4 * masks).astype(np.float32)
    return maps.max(axis=(1, 2)), labels, maps, masks


def test_evaluate_maps_agrees_with_each_metric():
    scores, labels, maps, masks = category()
    result = evaluate_maps(scores, labels, maps, masks)
    assert result == CategoryMetrics(
        image_auroc=auroc(scores, labels),
        pixel_auroc=auroc(maps, masks),
        pixel_ap=average_precision(maps, masks),
        aupro=aupro(maps, masks),
        image_ap=average_precision(scores, labels),
        image_f1_max=f1_max(scores, labels),
        pixel_f1_max=f1_max(maps, masks),
        n_normal=3,
        n_anomalous=4,
    )
    assert list(result.to_dict()) == NAMES


def test_normal_images_need_no_mask():
    scores, labels, maps, masks = category()
    without = [mask if label else None for mask, label in zip(masks, labels, strict=True)]
    assert evaluate_maps(scores, labels, maps, without) == evaluate_maps(scores, labels, maps, masks)


def test_pixels_of_anomalous_images_without_mask_are_left_out():
    scores, labels, maps, masks = category()
    some = [*masks[:-2], None, None]
    result = evaluate_maps(scores, labels, maps, some)
    assert result.pixel_auroc == auroc(maps[:-2], masks[:-2])
    assert result.aupro == aupro(maps[:-2], masks[:-2])
    assert result.image_auroc == auroc(scores, labels)
    assert result.n_anomalous == 4


@pytest.mark.parametrize("lacking", ["masks", "normal", "anomalous", "all"])
def test_what_is_undefined_is_none(lacking):
    scores, labels, maps, masks = category()
    if lacking == "masks":
        result = evaluate_maps(scores, labels, maps, [None] * labels.size)
        assert result.image_auroc is not None
        assert result.pixel_auroc is result.pixel_ap is result.aupro is result.pixel_f1_max is None
        return
    keep = {"normal": labels, "anomalous": ~labels, "all": labels & ~labels}[lacking]
    result = evaluate_maps(scores[keep], labels[keep], maps[keep], masks[keep])
    assert result.image_auroc is result.image_ap is result.image_f1_max is None
    # Anomalous images have normal pixels too.
    assert (result.aupro is None) == (lacking != "normal")
    assert result.n_normal == (~labels[keep]).sum()


def test_scores_that_are_not_finite_leave_their_metrics_undefined():
    scores, labels, maps, masks = category()
    maps[1, 0, 0] = np.nan
    result = evaluate_maps(scores, labels, maps, masks)
    assert result.pixel_auroc is None
    assert result.image_auroc is not None
    scores[0] = np.nan
    assert evaluate_maps(scores, labels, maps, masks).image_auroc is None


def test_evaluate_maps_refuses_what_does_not_fit():
    scores, labels, maps, masks = category()
    with pytest.raises(ClipAdaError, match="7 scores, 7 labels, 6 maps"):
        evaluate_maps(scores, labels, maps[:-1], masks)
    with pytest.raises(ClipAdaError, match="mask of image 0 does not fit"):
        evaluate_maps(scores, labels, maps, masks[:, 1:])
    masks[0, 0, 0] = True
    with pytest.raises(ClipAdaError, match="label and mask of image 0 disagree"):
        evaluate_maps(scores, labels, maps, masks)


def test_mean_is_plain_and_leaves_out_what_is_undefined():
    one = evaluate_maps(*category(1))
    scores, labels, maps, _ = category(2, normal=5)
    two = evaluate_maps(scores, labels, maps, [None] * labels.size)
    mean = mean_metrics(iter([one, two]))
    assert mean.image_auroc == pytest.approx((one.image_auroc + two.image_auroc) / 2)
    assert mean.pixel_ap == one.pixel_ap
    assert (mean.n_normal, mean.n_anomalous) == (8, 8)
    assert mean_metrics([two]).aupro is None
    with pytest.raises(ClipAdaError, match="one category or more"):
        mean_metrics([])


@pytest.mark.slow
def test_a_category_of_mvtec_takes_seconds():
    rng = np.random.default_rng(0)
    maps = rng.random((168, 256, 256), dtype=np.float32)
    masks = np.zeros(maps.shape, bool)
    masks[84:, 50:100, 60:110] = True
    result = evaluate_maps(maps[:, 0, 0], np.arange(168) >= 84, maps, masks)
    # The standard error of the AUROC of 210,000 random positives is 0.0006.
    assert result.pixel_auroc == pytest.approx(0.5, abs=0.004)
    assert result.aupro == pytest.approx(0.15, abs=0.004)
