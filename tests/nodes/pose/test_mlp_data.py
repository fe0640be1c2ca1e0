"""The exact geometry that trains ``pose/mlp``: cameras by closed formulas, signs by eye."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featflow.errors import MissingInputError, RecipeError
from featflow.geometry.landmarks import MIRROR_68
from featflow.geometry.mean_face import FACE68_CM
from featflow.geometry.rotation import angles_from_rotation, rotation_from_angles
from featflow.nodes.pose.mlp.data import (
    FaceShapes,
    LandmarkErrors,
    Ranges,
    line_of_sight,
    project,
    random_heads,
    random_rotations,
)

AHEAD = np.array([[0.0, 0.0, 100.0]])


def _seen(pitch: float = 0, roll: float = 0, yaw: float = 0, at: np.ndarray = AHEAD) -> np.ndarray:
    rotation = rotation_from_angles(pitch, roll, yaw)[None]
    return project(FACE68_CM[None], rotation, at, np.array([1000.0])).points[0]


def test_each_sign_by_what_is_seen() -> None:
    front = _seen()
    assert front[30, 1] < front[8, 1]  # y down: the nose is above the chin
    assert front[36, 0] < front[45, 0]  # the subject's right eye is on the image left
    nose_on_eyes = lambda p: p[30] - (p[36] + p[45]) / 2  # noqa: E731
    assert nose_on_eyes(_seen(yaw=0.4))[0] < nose_on_eyes(front)[0] - 10  # to their right
    assert nose_on_eyes(_seen(pitch=0.4))[1] < nose_on_eyes(front)[1] - 10  # nose goes up
    tilted = _seen(roll=0.4)
    assert tilted[27, 0] < tilted[8, 0]  # the top of the head leans to the image left
    assert tilted[36, 1] > tilted[45, 1]  # their right eye is lower


def test_projection_is_that_of_a_pinhole() -> None:
    at = np.array([[12.0, -7.0, 80.0]])
    heads = project(FACE68_CM[None], np.eye(3)[None], at, np.array([900.0]))
    rotation = line_of_sight(at)[0]
    for point, pixel in zip(FACE68_CM, heads.points[0], strict=True):
        x, y, z = rotation @ point + [12.0, -7.0, -80.0]
        assert pixel.tolist() == pytest.approx([900 * x / -z, 900 * y / z])
    assert heads.origin[0].tolist() == pytest.approx([900 * 12 / 80, 900 * 7 / 80])
    assert heads.scale[0] == pytest.approx(900 / 80)


@given(st.floats(-60, 60), st.floats(-60, 60), st.floats(20, 200))
def test_line_of_sight_is_the_smallest_turn_to_the_camera(x: float, y: float, z: float) -> None:
    turn = line_of_sight(np.array([[x, y, z]]))[0]
    to_camera = np.array([-x, -y, z]) / np.sqrt(x * x + y * y + z * z)
    np.testing.assert_allclose(turn @ [0, 0, 1], to_camera, atol=1e-12)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert (np.trace(turn) - 1) / 2 == pytest.approx(to_camera[2])


def test_a_face_that_looks_into_the_camera_looks_frontal_wherever_it_stands() -> None:
    """Left and right halves are alike about the line that is seen of the head's middle."""
    aside = _seen(at=np.array([[40.0, 0.0, 100.0]]))
    ratio = (aside[30, 0] - aside[36, 0]) / (aside[45, 0] - aside[30, 0])
    assert ratio == pytest.approx(1, abs=0.1)


@pytest.fixture(scope="module")
def shapes(shared: Path) -> FaceShapes:
    return FaceShapes.open(shared / "geometry")


def test_shapes_are_laid_on_the_canonical_face(shapes: FaceShapes, shared: Path) -> None:
    mesh = np.load(shared / "geometry" / "canonical_face_468.npy")
    tip = mesh[1]
    assert np.linalg.norm(shapes.neutral[30] + shapes.mesh_offset[30] - tip) < 1e-5
    assert np.linalg.norm(shapes.neutral[30] - tip) < 1
    # No rotation is left between the two, without the jaw, whose points are not the same skin.
    a = shapes.neutral[17:] - shapes.neutral[17:].mean(0)
    b = a + shapes.mesh_offset[17:] - shapes.mesh_offset[17:].mean(0)
    product = b.T @ a
    np.testing.assert_allclose(product, product.T, atol=1e-3)
    np.testing.assert_allclose(shapes.neutral, FACE68_CM, atol=0.02)
    mirrored = shapes.neutral[MIRROR_68] * [-1, 1, 1]
    np.testing.assert_allclose(shapes.neutral, mirrored, atol=0.02)


def test_both_halves_of_a_movement_share_a_group(shapes: FaceShapes) -> None:
    assert len(shapes.groups) == 57
    assert np.bincount(shapes.groups).max() == 2


def test_random_heads_are_exact_and_repeatable(shapes: FaceShapes) -> None:
    ranges = Ranges()
    heads, again = (random_heads(shapes, ranges, np.random.default_rng(5), 300) for _ in "ab")
    np.testing.assert_array_equal(heads.points, again.points)
    angles = np.degrees(np.abs(angles_from_rotation(heads.rotation)))
    assert (angles <= np.array(ranges.limits_deg) + 1e-6).all()
    assert (angles.max(0) > np.array(ranges.limits_deg) - 6).all()
    x, y, z = heads.translation.T
    assert ((z > 25) & (z < 250)).all()
    assert np.degrees(np.arctan(np.hypot(x, y) / z)).max() <= ranges.off_axis_deg
    np.testing.assert_allclose(heads.scale, heads.focal / z)


@given(st.integers(0, 2**31))
@settings(max_examples=10, deadline=None)
def test_most_heads_are_near_the_front(seed: int) -> None:
    rotations = random_rotations(Ranges(), np.random.default_rng(seed), 2000)
    yaw = np.degrees(angles_from_rotation(rotations)[:, 2])
    assert (np.abs(yaw) < 30).mean() > 0.55
    assert abs(yaw.mean()) < 3  # neither side is preferred


def test_landmark_errors_have_the_size_asked_for() -> None:
    ranges = Ranges(noise=0.04, jaw_noise=2.0, outliers=0.0)
    errors = LandmarkErrors(FACE68_CM, ranges)
    drawn = errors.draw(np.full(3000, 50.0), np.random.default_rng(0)) / 50
    # Uniform in 0..0.04, so that the mean square is a third of the largest.
    assert np.sqrt((drawn[:, 17:] ** 2).mean()) == pytest.approx(0.04 / np.sqrt(3), rel=0.03)
    assert drawn[:, :17].std() / drawn[:, 17:].std() == pytest.approx(2, rel=0.03)
    near = np.corrcoef(drawn[:, 37, 0], drawn[:, 38, 0])[0, 1]
    far = np.corrcoef(drawn[:, 37, 0], drawn[:, 57, 0])[0, 1]
    assert near > 0.4 > 0.15 > abs(far)


def test_outliers_are_few_and_far() -> None:
    ranges = Ranges(noise=0.0, outliers=0.5)
    drawn = LandmarkErrors(FACE68_CM, ranges).draw(np.ones(2000), np.random.default_rng(0))
    hit = (drawn != 0).any(-1)
    assert hit.any(1).mean() == pytest.approx(0.5, abs=0.05)
    assert np.abs(drawn[hit]).mean() > 0.1


def test_bad_recipes_and_folders(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="noize"):
        Ranges.read({"noize": 1.0})
    assert Ranges.read({"distance_cm": [30, 40]}).distance_cm == (30, 40)
    with pytest.raises(MissingInputError, match=r"ict_face68.npz"):
        FaceShapes.open(tmp_path)
