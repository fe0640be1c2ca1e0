"""Anchors and decoding against closed formulas."""

from __future__ import annotations

from math import cos, exp, radians, sin

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from featflow.errors import ArrayError, WeightsError
from featflow.nodes.networks import decode
from featflow.nodes.networks.anchors import (
    decode_boxes,
    decode_points,
    retinaface_anchors,
    retinaface_faces,
)


def looped_anchors(height: int, width: int) -> list[tuple[float, ...]]:
    """One anchor at a time, in the order of the network's outputs."""
    found = []
    for stride, sizes in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512))):
        for row in range((height + stride - 1) // stride):
            for column in range((width + stride - 1) // stride):
                centre = ((column + 0.5) * stride, (row + 0.5) * stride)
                found += [(*centre, size, size) for size in sizes]
    return found


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 150), st.integers(1, 150))
def test_anchors_equal_a_loop(height: int, width: int) -> None:
    np.testing.assert_array_equal(retinaface_anchors(height, width), looped_anchors(height, width))


def test_anchor_counts() -> None:
    assert len(retinaface_anchors(320, 320)) == 4200
    assert len(retinaface_anchors(96, 128)) == 504  # as in the published expectation


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=14, max_size=14), st.integers(0, 100))
def test_decoding_equals_the_formula(values: list[float], row: int) -> None:
    anchors = retinaface_anchors(96, 128)
    x, y, w, h = (float(v) for v in anchors[row])
    dx, dy, dw, dh = values[:4]
    cx, cy = x + 0.1 * dx * w, y + 0.1 * dy * h
    half_w, half_h = w * exp(0.2 * dw) / 2, h * exp(0.2 * dh) / 2
    box = decode_boxes(np.array(values[:4]), anchors[row])
    np.testing.assert_allclose(box, [cx - half_w, cy - half_h, cx + half_w, cy + half_h])
    points = decode_points(np.array(values[4:]), anchors[row])
    expected = [[x + 0.1 * values[i] * w, y + 0.1 * values[i + 1] * h] for i in range(4, 14, 2)]
    np.testing.assert_allclose(points, expected)


def test_faces_are_chosen_best_first_and_overlaps_dropped() -> None:
    anchors = retinaface_anchors(64, 64)
    deltas, points = np.zeros((len(anchors), 4)), np.zeros((len(anchors), 10))
    points[:, 0] = 1.0
    scores = np.zeros((len(anchors), 2))
    first, beside, far, weak = 0, 2, 30, 100
    # Anchors 0 and 2 are 16-pixel squares 8 pixels apart: IoU 1/3.
    scores[[first, beside, far, weak], 1] = [0.8, 0.7, 0.9, 0.49]
    box, score, five = retinaface_faces(deltas, scores, points, anchors)
    np.testing.assert_allclose(score, [0.9, 0.8, 0.7])
    np.testing.assert_allclose(box[1], [-4, -4, 12, 12])
    np.testing.assert_allclose(five[1], [[4 + 1.6, 4]] + [[4, 4]] * 4)
    assert len(retinaface_faces(deltas, scores, points, anchors, iou_threshold=0.3)[0]) == 2
    assert len(retinaface_faces(deltas, scores, points, anchors, min_score=0.4)[0]) == 4
    assert len(retinaface_faces(deltas, scores, points, anchors, most_faces=1)[0]) == 1
    assert len(retinaface_faces(deltas, scores, points, anchors, min_score=0.95)[0]) == 0


def test_crop_points_are_interleaved() -> None:
    outputs = np.zeros((1, 136))
    outputs[0, 6], outputs[0, 7] = 0.25, 0.5
    points = decode.crop_points(outputs, 112)
    np.testing.assert_array_equal(points[0, 3], [28, 56])


def one_bin(number: int) -> np.ndarray:
    """Logits that leave no doubt."""
    logits = np.full((1, 90), -1e4)
    logits[0, number] = 0.0
    return logits


@pytest.mark.parametrize(("number", "degrees"), [(0, -180), (45, 0), (50, 20), (89, 176)])
def test_gaze_bins_are_four_degrees_wide(number: int, degrees: float) -> None:
    found = decode.l2cs_angles(one_bin(number), one_bin(45))
    np.testing.assert_allclose(found, [[0, radians(degrees)]], atol=1e-12)  # yaw comes second
    found = decode.l2cs_angles(one_bin(45), one_bin(number))
    np.testing.assert_allclose(found, [[radians(degrees), 0]], atol=1e-12)


def test_gaze_is_the_mean_over_the_bins() -> None:
    rng = np.random.default_rng(0)
    horizontal, vertical = rng.normal(0, 3, (2, 4, 90))
    for row, (pitch, yaw) in enumerate(decode.l2cs_angles(horizontal, vertical)):
        for angle, logits in ((yaw, horizontal[row]), (pitch, vertical[row])):
            weights = [exp(v) for v in logits]
            mean = sum(w * (4 * k - 180) for k, w in enumerate(weights)) / sum(weights)
            assert angle == pytest.approx(radians(mean))


def test_gaze_angle_is_the_angle_to_the_axis() -> None:
    pitch, yaw = 0.3, -0.5
    direction = np.array([-sin(yaw) * cos(pitch), sin(pitch), cos(yaw) * cos(pitch)])
    expected = np.arccos(direction @ [0, 0, 1])
    assert decode.gaze_angle(np.array([pitch, yaw])) == pytest.approx(expected)
    assert decode.gaze_angle(np.zeros(2)) == 0


def test_pose_input_is_centred_and_scaled_by_the_eyes() -> None:
    rng = np.random.default_rng(1)
    points = rng.normal(size=(3, 68, 2)) * 30 + 200
    found = decode.pose_mlp_input(points)
    for row, face in enumerate(points):
        unit = np.hypot(*(face[36] - face[45]))
        expected = [(p[0] - face[:, 0].mean()) / unit for p in face]
        expected += [(p[1] - face[:, 1].mean()) / unit for p in face]
        np.testing.assert_allclose(found[row], expected, atol=1e-6)
    np.testing.assert_allclose(decode.pose_mlp_input(points * 7 - 40), found, atol=1e-5)
    assert np.isnan(decode.pose_mlp_input(np.ones((1, 68, 2)))).all()
    with pytest.raises(ArrayError, match="landmarks"):
        decode.pose_mlp_input(points.reshape(3, 136))


def test_pose_signs_and_order() -> None:
    mean, std = np.arange(6.0), np.array([2.0, 3, 4, 5, 6, 7])
    outputs = np.array([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]])
    raw = outputs[0] * std + mean
    found = decode.pose_mlp_pose(outputs, mean, std, euler=True)[0]
    np.testing.assert_allclose(found, [-raw[0], -raw[2], raw[1], *raw[3:]])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1.2, 1.2), min_size=3, max_size=3))
def test_euler_angles_equal_scipy(angles: list[float]) -> None:
    matrix = Rotation.from_euler("xyz", angles).as_matrix()
    np.testing.assert_allclose(decode.euler_angles(matrix[None])[0], angles, atol=1e-9)


@pytest.mark.parametrize(
    ("axis", "part", "seen", "expected"),
    [
        # img2pose's camera looks along +z with y down; the nose points to the camera, -z.
        ([-1.0, 0, 0], [0, 0, -1], "nose goes up", [0.4, 0, 0]),
        ([0, 1.0, 0], [0, 0, -1], "nose goes to the image's left", [0, 0, 0.4]),
        ([0, 0, -1.0], [0, -1, 0], "crown goes to the image's left", [0, 0.4, 0]),
    ],
)
def test_a_turned_head(axis: list[float], part: list[float], seen: str, expected: list) -> None:
    rotation = Rotation.from_rotvec(0.4 * np.array(axis))
    x, y, _ = rotation.apply(part)
    assert (y < -0.3) if "up" in seen else (x < -0.3)
    raw = np.concatenate([decode.euler_angles(rotation.as_matrix()[None]), np.zeros((1, 3))], 1)
    for euler in (False, True):
        found = decode.pose_from_raw(raw, euler=euler)[0, :3]
        np.testing.assert_allclose(found, expected, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-0.7, 0.7), min_size=3, max_size=3))
def test_head_angles_of_any_turn(angles: list[float]) -> None:
    rotation = Rotation.from_euler("xyz", angles)
    raw = np.array([[*angles, 1.0, 2.0, 3.0]])
    pitch, roll, yaw, *translation = decode.pose_from_raw(raw)[0]
    nose, crown = rotation.apply([0, 0, -1]), rotation.apply([0, -1, 0])
    assert sin(pitch) == pytest.approx(-nose[1])
    assert np.tan(yaw) == pytest.approx(nose[0] / nose[2])
    assert np.tan(roll) == pytest.approx(crown[0] / crown[1])
    assert translation == [1, 2, 3]


def test_pose_statistics_are_read_from_the_published_json() -> None:
    statistics = {"mean": [0, 1, 2, 3, 4, 5], "std": [1, 2, 3, 4, 5, 6]}
    mean, std = decode.pose_mlp_statistics(
        {"architecture": {"hidden": [512, 256, 128], "output_normalization": statistics}}
    )
    np.testing.assert_array_equal(mean, statistics["mean"])
    np.testing.assert_array_equal(std, statistics["std"])
    with pytest.raises(WeightsError, match="architecture"):
        decode.pose_mlp_statistics({})
    with pytest.raises(WeightsError, match="6 means"):
        decode.pose_mlp_statistics(
            {"architecture": {"output_normalization": {"mean": [0], "std": [1]}}}
        )
