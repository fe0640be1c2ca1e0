"""Metrics whose other tests are by hand or by brute force, against SciPy, scikit-learn and OpenCV.

F1, accuracy, balanced accuracy, macro F1, calibration, ROC, rank-k, mask overlap and CCC meet a
library in the tests of their own modules.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cosine
from sklearn import metrics
from sklearn.model_selection import KFold

from featflow.evaluation.agreement import icc_3_1
from featflow.evaluation.detection import LabelledPicture, precision_recall
from featflow.evaluation.shapes import angular_error, failure_rate, landmark_nme
from featflow.evaluation.verification import verify
from featflow.geometry.boxes import iou

SEEDS = range(4)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("raters", [2, 5])
def test_icc_by_scipys_analysis_of_variance(seed, raters):
    """Without the raters' means the one-way test has the sums of squares of the two-way table."""
    draw = np.random.default_rng(seed)
    table = draw.normal(0, 1, (30, 1)) + draw.normal(0, 0.8, (30, raters)) + np.arange(raters)
    f = stats.f_oneway(*(table - table.mean(0))).statistic * 29 / 30
    assert icc_3_1(table) == pytest.approx((f - 1) / (f + raters - 1))


@pytest.mark.parametrize("seed", SEEDS)
def test_ten_folds_by_scikit_learn(seed):
    draw = np.random.default_rng(seed)
    same = draw.random(500) < 0.5
    scores = draw.standard_normal(500) + 1.5 * same
    right = []
    for train, test in KFold(10).split(scores):
        false, true, limits = metrics.roc_curve(same[train], scores[train], drop_intermediate=False)
        accuracy = true * same[train].mean() + (1 - false) * (~same[train]).mean()
        best = int(accuracy.round(9).argmax())  # of equally good ones the strictest
        reached = scores[train][scores[train] < limits[best]].max()  # the middle of the gap
        right.append(
            metrics.accuracy_score(same[test], scores[test] >= (limits[best] + reached) / 2)
        )
    found = verify(scores, same, 10)
    assert found.accuracy == pytest.approx(np.mean(right))
    assert found.accuracy_std == pytest.approx(np.std(right))


def test_angles_by_scipys_cosine_distance():
    a, b = np.random.default_rng(0).standard_normal((2, 50, 3))
    expected = [np.arccos(1 - cosine(u, v)) for u, v in zip(a, b, strict=True)]
    np.testing.assert_allclose(angular_error(a, b), expected, atol=1e-9)


def test_landmark_errors_by_scikit_learn():
    draw = np.random.default_rng(0)
    truth = draw.uniform(0, 200, (6, 68, 2))
    told = truth + draw.normal(0, 8, truth.shape)
    expected = [
        metrics.pairwise.paired_euclidean_distances(a, b).mean()
        / metrics.pairwise.euclidean_distances(a[36:37], a[45:46])[0, 0]
        for a, b in zip(truth, told, strict=True)
    ]
    errors = landmark_nme(truth, told)
    np.testing.assert_allclose(errors, expected)
    for limit in (0.05, 0.08, float(errors[2])):
        part = stats.ecdf(errors).sf.evaluate(limit)  # strictly above
        assert failure_rate(errors, limit) == pytest.approx(float(part))


@pytest.mark.parametrize("seed", SEEDS)
def test_overlap_of_boxes_by_opencv(seed):
    low = np.random.default_rng(seed).uniform(0, 40, (12, 2))
    boxes = np.concatenate([low, low + np.random.default_rng(seed + 9).uniform(5, 40, (12, 2))], 1)

    def overlap(a, b):
        corners = [np.float32([[x, y], [u, y], [u, v], [x, v]]) for x, y, u, v in (a, b)]
        shared = cv2.intersectConvexConvex(*corners)[0]
        return shared / (sum(cv2.contourArea(c) for c in corners) - shared)

    expected = [[overlap(a, b) for b in boxes] for a in boxes]
    np.testing.assert_allclose(iou(boxes, boxes), expected, atol=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
def test_average_precision_by_scikit_learn(seed):
    """Faces side by side, some with a detection; scikit-learn does not know of missed ones."""
    draw = np.random.default_rng(seed)
    place = np.arange(80) * 20.0
    boxes = np.stack([place, place * 0, place + 10, place * 0 + 9], 1)
    labelled, detected = draw.random(80) < 0.6, draw.random(80) < 0.7
    scores = np.round(draw.random(80), 2)[detected]
    right = labelled[detected]
    precision, recall, _ = metrics.precision_recall_curve(right, scores)
    best = np.maximum.accumulate(precision)  # from the lowest score up, at that recall or higher
    area = -np.sum(np.diff(recall) * best[:-1]) * right.sum() / labelled.sum()
    found = precision_recall([LabelledPicture(boxes[detected], scores, boxes[labelled])])
    assert found.average_precision == pytest.approx(area)
