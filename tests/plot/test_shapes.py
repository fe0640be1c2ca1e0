"""Shapes: where the head's axes point, by value and by sign."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from featflow.geometry.rotation import angles_from_rotation
from featflow.plot.shapes import PATHS, FaceShapes, pose_axes

LEFT, UP, FORWARD = range(3)


def test_frontal_head() -> None:
    axes = pose_axes(0.0, 0.0, 0.0)
    np.testing.assert_allclose(axes[LEFT], [1, 0])  # the subject's left is the image's right
    np.testing.assert_allclose(axes[UP], [0, -1])  # rows count downwards
    np.testing.assert_allclose(axes[FORWARD], [0, 0], atol=1e-12)  # towards the camera


@pytest.mark.parametrize(
    ("angles", "axis", "direction"),
    [
        ({"yaw": 0.5}, FORWARD, [-1, 0]),  # turned to the subject's right: nose to image left
        ({"pitch": 0.5}, FORWARD, [0, -1]),  # turned up: nose up
        ({"roll": 0.5}, UP, [-1, -1]),  # tilted to the subject's right: crown to image left
    ],
)
def test_signs(angles: dict[str, float], axis: int, direction: list[int]) -> None:
    axes = pose_axes(**{"pitch": 0.0, "roll": 0.0, "yaw": 0.0, **angles})
    np.testing.assert_array_equal(np.sign(np.round(axes[axis], 9)), direction)


@settings(deadline=None)
@given(st.tuples(*[st.floats(-0.6, 0.6)] * 3))
def test_axes_are_columns_of_the_rotation_seen_from_the_front(
    angles: tuple[float, float, float],
) -> None:
    matrix = Rotation.from_rotvec(angles).as_matrix()
    pitch, roll, yaw = angles_from_rotation(matrix)
    np.testing.assert_allclose(pose_axes(pitch, roll, yaw), matrix[:2].T * [1, -1], atol=1e-6)


def test_rows_become_corners_points_and_axes() -> None:
    values = {"FaceRectX": 10.0, "FaceRectY": 20, "FaceRectWidth": 30, "FaceRectHeight": 40}
    shapes = FaceShapes.from_rows(pd.DataFrame({**values, "Pitch": 0, "Roll": 0, "Yaw": 0}, [0]))
    np.testing.assert_array_equal(shapes.box, [[10, 20, 40, 60]])
    assert np.isnan(shapes.points).all()
    np.testing.assert_allclose(shapes.axes[0], [[25, 40], [45, 40], [25, 20], [25, 40]])


def test_axes_start_amid_the_points() -> None:
    points = {f"x_{i}": 100.0 + 2 * (i % 2) for i in range(68)}
    points |= {f"y_{i}": 50.0 + 6 * (i % 2) for i in range(68)}
    shapes = FaceShapes.from_rows(pd.DataFrame({**points, "Pitch": 0, "Roll": 0, "Yaw": 0}, [0]))
    np.testing.assert_allclose(shapes.axes[0, :2], [[101, 53], [104, 53]])


def test_each_point_is_on_one_path() -> None:
    assert [i for path, _ in PATHS for i in path] == list(range(68))
    assert [closed for _, closed in PATHS] == [False] * 5 + [True] * 4
