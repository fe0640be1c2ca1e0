"""Errors of points, directions and masks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from sklearn.metrics import jaccard_score

from featflow.errors import OptionError
from featflow.evaluation.shapes import (
    angular_error,
    direction,
    failure_rate,
    landmark_nme,
    mask_iou,
)
from featflow.geometry.rotation import rotation_from_angles

NAN = float("nan")


@pytest.fixture
def points():
    return np.random.default_rng(0).uniform(0, 200, (5, 68, 2))


def by_hand(truth, predicted, length):
    total = 0.0
    for (x, y), (u, v) in zip(truth, predicted, strict=True):
        total += ((x - u) ** 2 + (y - v) ** 2) ** 0.5
    return total / len(truth) / length


def test_nme_by_hand(points):
    moved = points + np.random.default_rng(1).standard_normal(points.shape)
    for by in ("interocular", "pupils", "box"):
        found = landmark_nme(points, moved, by)
        for face in range(5):
            p = points[face]
            sides = p[:, 0].max() - p[:, 0].min(), p[:, 1].max() - p[:, 1].min()
            length = {
                "interocular": np.hypot(*(p[36] - p[45])),
                "pupils": np.hypot(*(p[36:42].mean(0) - p[42:48].mean(0))),
                "box": (sides[0] * sides[1]) ** 0.5,
            }[by]
            assert found[face] == pytest.approx(by_hand(p, moved[face], length))


def test_nme_of_a_known_shift(points):
    points[:, 36], points[:, 45] = [10, 10], [70, 90]  # 100 apart
    np.testing.assert_allclose(landmark_nme(points, points + [3, 4]), 0.05)
    lengths = np.array([1.0, 2, 5, 10, 0])
    np.testing.assert_allclose(
        landmark_nme(points, points + [3, 4], lengths), [5, 2.5, 1, 0.5, NAN]
    )


def test_missed_faces_are_failures(points):
    moved = points + [3, 4]
    moved[2] = NAN
    errors = landmark_nme(points, moved, np.full(5, 50.0))
    assert np.isnan(errors[2])
    assert failure_rate(errors, 0.10) == 0.2  # exactly at the limit is no failure
    assert failure_rate(errors, 0.09) == 1
    assert np.isnan(failure_rate([]))


def test_landmarks_are_checked(points):
    with pytest.raises(OptionError, match="unknown length 'eyes'"):
        landmark_nme(points, points, "eyes")
    with pytest.raises(OptionError, match="68 points, got 5"):
        landmark_nme(points[:, :5], points[:, :5])
    with pytest.raises(OptionError, match="a length for each of 5"):
        landmark_nme(points, points, [1.0])
    with pytest.raises(OptionError, match="faces, points, 2"):
        landmark_nme(points[0], points[0])


def test_direction_is_the_heads_forward_axis():
    draw = np.random.default_rng(0)
    pitch, roll, yaw = draw.uniform(-1.2, 1.2, (3, 50))
    forward = rotation_from_angles(pitch, roll, yaw)[..., 2]
    np.testing.assert_allclose(direction(pitch, yaw), forward, atol=1e-12)


def test_signs_of_direction():
    np.testing.assert_allclose(direction(0, 0), [0, 0, 1])
    assert direction(0.3, 0)[1] > 0  # up is up
    assert direction(0, 0.3)[0] < 0  # the subject's right is the image left


def test_angles_against_scipys_rotations():
    draw = np.random.default_rng(1)
    vectors, turns = draw.standard_normal((40, 3)), Rotation.random(40, random_state=2)
    turned = turns.apply(vectors) * draw.uniform(0.1, 9, (40, 1))
    cosine = (vectors * turned).sum(1) / np.linalg.norm(vectors, axis=1)
    expected = np.arccos(cosine / np.linalg.norm(turned, axis=1))
    np.testing.assert_allclose(angular_error(vectors, turned), expected, atol=1e-9)


def test_small_and_opposite_angles_are_exact():
    tiny = angular_error([0.0, 0.0], [1e-9, 0.0])
    assert tiny == pytest.approx(1e-9, rel=1e-6)
    assert angular_error([0.0, 0.0, 1.0], [0.0, 0.0, -2.0]) == pytest.approx(np.pi)
    assert angular_error([0.2, 0.5], [0.2, -0.5]) > angular_error([0.2, 0.5], [0.2, 0.4])
    assert np.isnan(angular_error([0.0, NAN], [0.0, 0.0]))
    with pytest.raises(OptionError, match="directions are"):
        angular_error(np.zeros(4), np.zeros(4))


def test_masks_against_scikit_learn():
    a, b = np.random.default_rng(0).random((2, 6, 12, 9)) > 0.6
    expected = [jaccard_score(x.ravel(), y.ravel()) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(mask_iou(a, b), expected)
    nothing = np.zeros((1, 3, 3), bool)
    assert np.isnan(mask_iou(nothing, nothing)[0])
    assert mask_iou(nothing, ~nothing).tolist() == [0]
    with pytest.raises(OptionError, match="truth values"):
        mask_iou(a.astype(float), b)
