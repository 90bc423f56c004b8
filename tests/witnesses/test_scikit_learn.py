"""Metrics against scikit-learn."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from clipada.evaluation.metrics import (
    auroc,
    average_precision,
    f1_max,
)
from drawn import labeled_scores

TOLERANCE = 1e-9


def sklearn_f1_max(scores, labels):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        precision, recall, _ = precision_recall_curve(labels, scores)
    total = precision + recall
    return np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0).max()


@settings(deadline=None)
@given(labeled_scores())
def test_equal_to_scikit_learn(case):
    scores, labels = case
    assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=TOLERANCE)
    assert average_precision(scores, labels) == pytest.approx(average_precision_score(labels, scores), abs=TOLERANCE)
    assert f1_max(scores, labels) == pytest.approx(sklearn_f1_max(scores, labels), abs=TOLERANCE)


def test_equal_to_scikit_learn_on_many_pixels():
    rng = np.random.default_rng(0)
    labels = rng.random(200_000) < 0.02
    scores = (rng.random(200_000, dtype=np.float32) + 0.3 * labels).round(3).astype(np.float32)
    assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=TOLERANCE)
    assert average_precision(scores, labels) == pytest.approx(average_precision_score(labels, scores), abs=TOLERANCE)
    assert f1_max(scores, labels) == pytest.approx(sklearn_f1_max(scores, labels), abs=TOLERANCE)
