"""Outcomes and average precision, against brute force and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve

from featflow.errors import OptionError
from featflow.evaluation.detection import (
    FALSE,
    HIT,
    NEUTRAL,
    Hits,
    LabelledPicture,
    detection_outcomes,
    match_detections,
    precision_recall,
)

FACE, FAR = [0, 0, 10, 10], [50, 50, 60, 60]


def test_outcomes_by_hand():
    detected = np.array([[0, 0, 10, 9], [1, 0, 10, 10], [50, 50, 60, 61], [80, 80, 90, 90.0]])
    labelled = np.array([FACE, FAR], float)
    assert detection_outcomes(detected, labelled).tolist() == [HIT, FALSE, HIT, FALSE]
    unsure = np.array([True, False])
    found = detection_outcomes(detected, labelled, unsure)
    assert found.tolist() == [HIT, FALSE, NEUTRAL, FALSE]
    assert match_detections(detected, labelled, unsure) == Hits(1, 0, 2)
    assert match_detections(detected[:0], labelled) == Hits(0, 2, 0)
    assert match_detections(detected, labelled[:0]) == Hits(0, 0, 4)


def test_the_overlap_is_inclusive():
    half = np.array([[0, 0, 10, 5.0]])
    assert detection_outcomes(half, np.array([FACE], float), None, 0.5).tolist() == [HIT]
    assert detection_outcomes(half, np.array([FACE], float), None, 0.51).tolist() == [FALSE]


def picture(draw):
    labelled = draw.uniform(0, 100, (draw.integers(0, 6), 4))
    labelled[:, 2:] = labelled[:, :2] + draw.uniform(10, 30, (len(labelled), 2))
    near = labelled[draw.random(len(labelled)) < 0.8] + draw.uniform(-4, 4, 4)
    far = draw.uniform(0, 100, (draw.integers(0, 5), 4))
    far[:, 2:] = far[:, :2] + draw.uniform(10, 30, (len(far), 2))
    detected = np.concatenate([near, far])
    scores = np.round(draw.random(len(detected)), 1)
    return LabelledPicture(detected, scores, labelled, draw.random(len(labelled)) < 0.8)


def overlap(a, b):
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0, wide) * max(0, high)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def brute_force(pictures, least):
    """Average precision in plain Python: the area under max precision at each recall."""
    rows, faces = [], 0
    for p in pictures:
        taken = set()
        faces += sum(p.certain)
        order = sorted(range(len(p.scores)), key=lambda i: -p.scores[i])
        for i in order:
            options = [
                (overlap(p.detected[i], box), -j)
                for j, box in enumerate(p.labelled)
                if p.certain[j] and j not in taken
            ]
            best = max(options, default=(0, 0))
            if options and best[0] >= least:
                taken.add(-best[1])
                rows.append((p.scores[i], True))
            elif not any(
                overlap(p.detected[i], box) >= 0.3
                for j, box in enumerate(p.labelled)
                if not p.certain[j]
            ):
                rows.append((p.scores[i], False))
    if not faces:
        return None
    points = []
    for limit in {score for score, _ in rows}:
        kept = [right for score, right in rows if score >= limit]
        points.append((sum(kept) / faces, sum(kept) / len(kept)))
    recalls = sorted({r for r, _ in points})
    area, before = 0.0, 0.0
    for recall in recalls:
        area += (recall - before) * max(p for r, p in points if r >= recall)
        before = recall
    return area


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6))
def test_average_precision_against_brute_force(seed, count):
    draw = np.random.default_rng(seed)
    pictures = [picture(draw) for _ in range(count)]
    expected = brute_force(pictures, 0.5)
    found = precision_recall(pictures)
    if expected is None:
        assert np.isnan(found.average_precision)
    else:
        assert found.average_precision == pytest.approx(expected)
        mixed = [pictures[i] for i in draw.permutation(count)]
        assert precision_recall(mixed).average_precision == pytest.approx(expected)


def test_the_curve_is_scikit_learns_where_every_face_is_found():
    draw = np.random.default_rng(0)
    right = draw.random(60) < 0.6
    scores = np.round(draw.random(60), 2)
    boxes = np.stack(
        [np.arange(60) * 20.0, np.zeros(60), np.arange(60) * 20 + 10.0, np.full(60, 9)], 1
    )
    found = precision_recall([LabelledPicture(boxes, scores, boxes[right])])
    precision, recall, limits = precision_recall_curve(right, scores)
    np.testing.assert_allclose(found.scores[::-1], limits)
    np.testing.assert_allclose(found.precision[::-1], precision[:-1])
    np.testing.assert_allclose(found.recall[::-1], recall[:-1])
    assert found.faces == right.sum()


def test_average_precision_by_hand():
    """Right, false, right of two faces: 1 up to recall 0.5, then 2/3."""
    detected = np.array([FACE, [20, 20, 30, 30], FAR], float)
    labelled = np.array([FACE, FAR], float)
    shots = [LabelledPicture(detected, np.array([0.9, 0.8, 0.7]), labelled)]
    assert precision_recall(shots).average_precision == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    worse = [LabelledPicture(detected, np.array([0.7, 0.8, 0.1]), labelled)]
    assert precision_recall(worse).average_precision == pytest.approx(2 / 3)


def test_faces_that_do_not_count_neither_help_nor_hurt():
    detected, scores = np.array([FACE, FAR], float), np.array([0.5, 0.9])
    shot = LabelledPicture(detected, scores, detected, np.array([True, False]))
    assert precision_recall([shot]).average_precision == 1
    assert precision_recall([shot]).faces == 1


def test_nothing_to_find_or_nothing_found():
    empty = np.zeros((0, 4))
    assert np.isnan(precision_recall([]).average_precision)
    found = precision_recall([LabelledPicture(empty, np.zeros(0), np.array([FACE], float))])
    assert found.average_precision == 0
    with pytest.raises(OptionError, match="finite scores"):
        precision_recall([LabelledPicture(np.array([FACE]), np.array([np.nan]), empty)])
