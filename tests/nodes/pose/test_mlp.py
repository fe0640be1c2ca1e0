"""The node ``pose/mlp`` on rendered faces whose pose is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from featflow.datasets.frame import Frame
from featflow.flow.batch import Batch, FaceBatch, FrameBatch
from featflow.geometry.landmarks import mirror_landmarks
from featflow.geometry.mean_face import FACE68_CM
from featflow.geometry.rotation import rotation_from_angles
from featflow.nodes.pose.mlp import PoseMLP
from featflow.nodes.pose.mlp.data import project
from featflow.nodes.pose.mlp.network import PoseNet, rotation_from_sixd
from featflow.nodes.pose.mlp.node import normalise, position
from featflow.testing import check_node

HEIGHT, WIDTH = 480, 640


def _landmarks(
    pitch: float = 0, roll: float = 0, yaw: float = 0, at: tuple[float, ...] = (0, 0, 80)
) -> np.ndarray:
    """Pixels of the mean face before the camera that the node assumes."""
    seen = rotation_from_angles(pitch, roll, yaw)[None]
    heads = project(FACE68_CM[None], seen, np.array([at], float), np.array([float(WIDTH)]))
    return heads.points[0] + [WIDTH / 2, HEIGHT / 2]


def _pose(*faces: np.ndarray, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    frame = Frame(np.zeros((2, 2, 3), np.uint8), "memory", size_px=size)
    rows = np.zeros(len(faces), np.int64)
    landmarks = np.array(faces).reshape(-1, 68, 2)
    fields = {"box": np.zeros((len(faces), 4)), "landmarks": landmarks}
    batch = Batch(FrameBatch.from_frames([frame]), FaceBatch(rows, fields))
    node = PoseMLP()
    node.load()
    pose = node.post_process(batch, node.process(node.pre_process(batch)))["pose"]
    assert pose.dtype == np.float32
    return pose.astype(float)


AXES = {"pitch": 0, "roll": 1, "yaw": 2}


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("angle", [-0.5, -0.2, 0.2, 0.5])
def test_each_angle_is_recovered_with_its_sign(axis: str, angle: float) -> None:
    expected = np.zeros(3)
    expected[AXES[axis]] = angle
    got = _pose(_landmarks(**{axis: angle}))[0, :3]
    np.testing.assert_allclose(np.degrees(got), np.degrees(expected), atol=5)


def test_combined_and_large_angles() -> None:
    rng = np.random.default_rng(0)
    angles = rng.uniform(-1, 1, (60, 3)) * np.radians([30, 60, 60])
    got = _pose(*[_landmarks(*row) for row in angles])[:, :3]
    error = np.abs(np.degrees(got - angles))
    assert error.mean(0).max() < 4
    assert error.max() < 15


def test_position_has_its_signs_and_centimetres() -> None:
    places = [(0, 0, 80), (25, 0, 80), (-25, 0, 80), (0, 18, 80), (0, -18, 80), (10, 5, 160)]
    got = _pose(*[_landmarks(at=place) for place in places])[:, 3:]
    expected = np.array(places, float)
    np.testing.assert_allclose(got[:, :2], expected[:, :2], atol=2.5)
    np.testing.assert_allclose(got[:, 2], expected[:, 2], rtol=0.06)


def test_a_face_that_looks_into_the_camera_has_no_yaw_at_the_edge() -> None:
    got = np.degrees(_pose(_landmarks(at=(30, 0, 80)), _landmarks(at=(0, 0, 80))))
    assert abs(got[0, 2] - got[1, 2]) < 4


def test_position_by_closed_formula() -> None:
    """4 px a centimetre with a focal length of 640 px is 160 cm away."""
    got = position(np.array([4.0]), np.array([[400.0, 200.0]]), np.array([[480, 640]]))
    np.testing.assert_allclose(got, [[20.0, 10.0, 160.0]])
    portrait = position(np.array([4.0]), np.array([[240.0, 320.0]]), np.array([[640, 480]]))
    np.testing.assert_allclose(portrait, [[0.0, 0.0, 160.0]])


def test_a_mirror_negates_roll_yaw_and_x() -> None:
    rng = np.random.default_rng(0)
    face = _landmarks(0.2, 0.3, -0.4, at=(10, 5, 70)) + rng.normal(0, 2, (68, 2))
    plain, mirrored = _pose(face, mirror_landmarks(face, WIDTH))
    np.testing.assert_allclose(mirrored, plain * [1, -1, -1, -1, 1, 1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("turn", [0.3, 1.5, 3.0, -2.2])
def test_turning_the_picture_adds_exactly_to_roll(turn: float) -> None:
    face = _landmarks(0.2, 0.1, -0.4) - [WIDTH / 2, HEIGHT / 2]
    # Counter-clockwise to the viewer, in pixels whose y points down.
    counter = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    turned = face @ counter.T + [WIDTH / 2, HEIGHT / 2]
    plain, other = _pose(face + np.array([WIDTH / 2, HEIGHT / 2]), turned)
    gap = other[1] - plain[1] - turn
    assert np.cos(gap) == pytest.approx(1, abs=1e-8)
    assert other[5] == pytest.approx(plain[5], rel=1e-5)


def test_scale_and_place_in_the_frame_do_not_change_the_angles() -> None:
    face = _landmarks(0.2, 0.1, -0.4)
    plain, other = _pose(face, face * 0.37 + np.array([11, -40]))
    np.testing.assert_allclose(other[:3], plain[:3], atol=1e-4)
    assert other[5] == pytest.approx(plain[5] / 0.37, rel=1e-4)


def test_unknown_landmarks_have_an_unknown_pose() -> None:
    holed, whole = _landmarks(), _landmarks()
    holed[12, 0] = np.nan
    poses = _pose(whole, holed, np.full((68, 2), np.nan), np.full((68, 2), 7.3), whole)
    assert np.isnan(poses[1:4]).all()
    np.testing.assert_allclose(poses[0], poses[4], atol=1e-5)
    assert np.isfinite(poses[0]).all()
    assert _pose().shape == (0, 6)


def test_normalise_is_mean_zero_and_rms_one() -> None:
    points = np.random.default_rng(0).normal(3, 20, (5, 68, 2))
    unit, centre, spread = normalise(points)
    np.testing.assert_allclose(unit.mean(1), 0, atol=1e-12)
    np.testing.assert_allclose((unit**2).sum(2).mean(1), 1)
    np.testing.assert_allclose(unit * spread[:, None, None] + centre[:, None], points)


def test_sixd_equals_the_numpy_form() -> None:
    from featflow.geometry import rotation

    sixd = np.random.default_rng(0).normal(size=(50, 6))
    got = rotation_from_sixd(torch.from_numpy(sixd)).numpy()
    np.testing.assert_allclose(got, rotation.rotation_from_sixd(sixd), atol=1e-9)


def test_the_network_is_small() -> None:
    assert sum(p.numel() for p in PoseNet().parameters()) < 200_000


def test_keeps_the_node_contract() -> None:
    assert check_node(PoseMLP).faces == 8
