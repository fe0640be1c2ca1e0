"""Head angles and rotation forms against scipy and against projected axes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from featflow.geometry import rotation

STEEP = st.floats(-1.5, 1.5)
ANY = st.floats(-3.1, 3.1)
SEEDS = st.integers(0, 2**31)


def _matrices(seed: int, count: int = 20) -> np.ndarray:
    return Rotation.random(count, random_state=seed).as_matrix()


@given(STEEP, ANY, STEEP)
def test_angles_there_and_back(pitch: float, roll: float, yaw: float) -> None:
    matrix = rotation.rotation_from_angles(pitch, roll, yaw)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)
    back = rotation.angles_from_rotation(matrix)
    np.testing.assert_allclose(back, [pitch, roll, yaw], atol=1e-9)


@given(STEEP, ANY, STEEP)
def test_matrix_there_and_back(pitch: float, roll: float, yaw: float) -> None:
    matrix = Rotation.from_euler("YXZ", [yaw, pitch, roll]).as_matrix()
    back = rotation.rotation_from_angles(*rotation.angles_from_rotation(matrix))
    np.testing.assert_allclose(back, matrix, atol=1e-8)


@given(STEEP, ANY, STEEP)
def test_yaw_and_pitch_are_those_of_scipy(pitch: float, roll: float, yaw: float) -> None:
    matrix = rotation.rotation_from_angles(pitch, roll, yaw)
    euler = Rotation.from_matrix(matrix).as_euler("YXZ")
    assert euler[0] == pytest.approx(-yaw, abs=1e-9)
    assert euler[1] == pytest.approx(-pitch, abs=1e-9)


@given(STEEP, ANY, STEEP, ANY)
def test_turning_the_picture_adds_to_roll(
    pitch: float, roll: float, yaw: float, turn: float
) -> None:
    before = rotation.rotation_from_angles(pitch, roll, yaw)
    # +roll tilts the head's top to the image left: counter-clockwise for the viewer.
    after = Rotation.from_euler("z", turn).as_matrix() @ before
    gained = rotation.angles_from_rotation(after)[1] - roll
    assert np.cos(gained - turn) == pytest.approx(1, abs=1e-9)


def test_signs_by_looking_at_the_axes() -> None:
    """Each angle moves a named axis to a named side of the picture."""
    left, up, forward = 0, 1, 2
    x, y = 0, 1
    to_right = rotation.rotation_from_angles(0, 0, 0.3)
    assert to_right[x, forward] < 0  # the subject's right is the image left
    looking_up = rotation.rotation_from_angles(0.3, 0, 0)
    assert looking_up[y, forward] > 0
    tilted = rotation.rotation_from_angles(0, 0.3, 0)
    assert tilted[x, up] < 0  # the top of the head nears the subject's right shoulder
    assert tilted[y, left] > 0  # and the subject's left ear rises
    np.testing.assert_allclose(rotation.rotation_from_angles(0, 0, 0), np.eye(3), atol=0)


def test_angles_broadcast() -> None:
    pitch, yaw = np.array([0.1, 0.2]), np.array([[0.3], [0.4], [0.5]])
    batch = rotation.rotation_from_angles(pitch, 0.0, yaw)
    assert batch.shape == (3, 2, 3, 3)
    np.testing.assert_array_equal(batch[2, 1], rotation.rotation_from_angles(0.2, 0.0, 0.5))


@given(SEEDS)
def test_vectors_equal_scipy(seed: int) -> None:
    matrices = _matrices(seed)
    vectors = Rotation.from_matrix(matrices).as_rotvec()
    np.testing.assert_allclose(rotation.vector_from_rotation(matrices), vectors, atol=1e-7)
    np.testing.assert_allclose(rotation.rotation_from_vector(vectors), matrices, atol=1e-12)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 3.0, np.pi - 1e-6, np.pi])
def test_vectors_at_the_ends(angle: float) -> None:
    axis = np.array([2.0, -1.0, 2.0]) / 3
    matrix = Rotation.from_rotvec(axis * angle).as_matrix()
    np.testing.assert_allclose(rotation.rotation_from_vector(axis * angle), matrix, atol=1e-12)
    vector = rotation.vector_from_rotation(matrix)
    assert np.linalg.norm(vector) == pytest.approx(angle, abs=1e-9)
    np.testing.assert_allclose(rotation.rotation_from_vector(vector), matrix, atol=1e-9)


@given(SEEDS)
def test_sixd_there_and_back_and_unnormalised(seed: int) -> None:
    matrices = _matrices(seed)
    sixd = rotation.sixd_from_rotation(matrices)
    np.testing.assert_array_equal(sixd[..., :3], matrices[..., 0])
    # Gram-Schmidt ignores the lengths and what the second column has of the first.
    bent = np.concatenate([3 * sixd[..., :3], 0.5 * sixd[..., 3:] + 2 * sixd[..., :3]], -1)
    np.testing.assert_allclose(rotation.rotation_from_sixd(bent), matrices, atol=1e-9)


@given(SEEDS)
def test_angle_between_equals_scipy(seed: int) -> None:
    a, b = _matrices(seed), _matrices(seed + 1)
    expected = (Rotation.from_matrix(a).inv() * Rotation.from_matrix(b)).magnitude()
    np.testing.assert_allclose(rotation.angle_between(a, b), expected, atol=1e-7)
