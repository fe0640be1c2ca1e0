"""BIWI and AFLW2000-3D: formats, and heads whose turn is seen where their nose points."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

from featflow.datasets.benchmarks import load_benchmark
from featflow.datasets.benchmarks.head_pose import rotation_of_angles
from featflow.errors import InputError
from featflow.evaluation.benchmark_figures import euler_angles
from featflow.geometry.rotation import angles_from_rotation

SMALL = st.floats(-1.4, 1.4)


def write_biwi(root, heads, to_colour=None):
    folder = root / "07"
    folder.mkdir(parents=True)
    to_colour = np.eye(3) if to_colour is None else to_colour

    def rows(m):
        return "\n".join(" ".join(f"{v:.9f}" for v in row) + " " for row in m)

    intrinsic = "517.679 0 320\n0 517.679 240.5\n0 0 1\n"
    (folder / "rgb.cal").write_text(
        f"{intrinsic}\n0 0 0 0 \n\n{rows(to_colour)}\n\n-24.0198 5.8896 -13.2308\n\n640 480\n"
    )
    for number, head in enumerate(heads):
        (folder / f"frame_{number:05d}_pose.txt").write_text(
            f"{rows(head)}\n\n43.4019 -30.7038 906.864 \n"
        )
        (folder / f"frame_{number:05d}_rgb.png").touch()


def seen(head):
    """Angles of a head in a camera's frame, from where its nose and its top are seen.

    The head of BIWI has its own axes along the camera's (x right, y down, z away) when it looks
    into it, so its nose points to -z and its top to -y.
    """
    nose, top = head @ [0, 0, -1], head @ [0, -1, 0]
    pitch = np.arcsin(-nose[1])  # up in the picture is -y
    yaw = np.arctan2(-nose[0], -nose[2])  # + to the left of the picture
    roll = np.arctan2(-top[0], -top[1])  # + where the top leans to the left of the picture
    return [pitch, roll, yaw]


def test_biwi_by_where_the_nose_points(tmp_path):
    turns = np.array([[0, 0, 0], [0, 0.5, 0], [0.4, 0, 0], [0, 0, 0.3], [0.3, -0.4, 0.2]])
    heads = [cv2.Rodrigues(turn)[0] for turn in turns]
    write_biwi(tmp_path, heads)
    found = load_benchmark("biwi", tmp_path)
    angles = angles_from_rotation(found.rotations)
    np.testing.assert_allclose(angles, [seen(head) for head in heads], atol=1e-8)
    assert np.abs(angles[1:4]).max(1).tolist() == pytest.approx([0.5, 0.4, 0.3])
    assert [p.name for p in found.inputs[:1]] == ["frame_00000_rgb.png"]


def test_biwi_is_brought_to_the_colour_camera(tmp_path):
    to_colour, head = (cv2.Rodrigues(np.array(v))[0] for v in ([0.0, 0.2, 0.0], [0.1, 0.3, 0.0]))
    write_biwi(tmp_path, [head], to_colour)
    found = load_benchmark("biwi", tmp_path)
    expected = [seen(to_colour @ head)]
    np.testing.assert_allclose(angles_from_rotation(found.rotations), expected, atol=1e-8)


def test_biwi_of_the_published_sample(tmp_path):
    """Rotation of a frame of sequence 12, with yaw and pitch as Hopenet reads them."""
    head = np.array(
        [
            [0.980639, 0.109899, 0.162077],
            [-0.11023, 0.993882, -0.00697376],
            [-0.161851, -0.011027, 0.986754],
        ]
    )
    write_biwi(tmp_path, [head])
    found = load_benchmark("biwi", tmp_path)
    pitch, yaw, roll = np.degrees(euler_angles(found.rotations)[0])
    turned = head.T
    assert roll == pytest.approx(-np.degrees(np.arctan2(turned[1, 0], turned[0, 0])), abs=1e-3)
    assert yaw == pytest.approx(
        -np.degrees(np.arctan2(-turned[2, 0], np.hypot(turned[2, 1], turned[2, 2]))), abs=1e-3
    )
    assert pitch == pytest.approx(np.degrees(np.arctan2(turned[2, 1], turned[2, 2])), abs=1e-3)
    assert yaw == pytest.approx(9.33, abs=0.01)


def test_biwi_without_a_rotation(tmp_path):
    write_biwi(tmp_path, [np.eye(3) * 2])
    with pytest.raises(InputError, match="three rows of a rotation"):
        load_benchmark("biwi", tmp_path)


def factors(pitch, yaw, roll):
    """The matrices of the authors of 300W-LP and AFLW2000-3D, written out."""
    c, s = np.cos([pitch, yaw, roll]), np.sin([pitch, yaw, roll])
    x = np.array([[1, 0, 0], [0, c[0], s[0]], [0, -s[0], c[0]]])
    y = np.array([[c[1], 0, -s[1]], [0, 1, 0], [s[1], 0, c[1]]])
    z = np.array([[c[2], s[2], 0], [-s[2], c[2], 0], [0, 0, 1]])
    return x @ y @ z


@given(SMALL, SMALL, SMALL)
def test_rotations_are_the_authors(pitch, yaw, roll):
    found = rotation_of_angles(*(np.array([a]) for a in (pitch, yaw, roll)))
    np.testing.assert_allclose(found[0], factors(pitch, yaw, roll), atol=1e-12)
    np.testing.assert_allclose(euler_angles(found)[0], [pitch, yaw, roll], atol=1e-9)


@pytest.mark.parametrize("axis", range(3))
def test_signs_of_single_angles(axis):
    """+ pitch is up and + yaw to the subject's right in both; roll is the other way round."""
    theirs = np.zeros((3, 1))
    theirs[axis] = 0.3
    pitch, roll, yaw = angles_from_rotation(rotation_of_angles(*theirs))[0]
    np.testing.assert_allclose([pitch, yaw, -roll], theirs[:, 0], atol=1e-12)


def test_aflw2000(tmp_path):
    points = np.random.default_rng(0).uniform(100, 300, (2, 3, 68))
    poses = [[0.1, -0.6, 0.2, 1, 2, 3, 1e-3], [0.1, 1.2, np.pi, 1, 2, 3, 1e-3]]
    for number, (pose, point) in enumerate(zip(poses, points, strict=True), 2):
        name = tmp_path / f"image{number:05d}"
        savemat(name.with_suffix(".mat"), {"Pose_Para": [pose], "pt3d_68": point})
        name.with_suffix(".jpg").touch()
    found = load_benchmark("aflw2000", tmp_path)
    np.testing.assert_allclose(found.landmarks, points[:, :2].transpose(0, 2, 1) - 0.5)
    np.testing.assert_allclose(found.rotations[0], factors(0.1, -0.6, 0.2), atol=1e-12)
    assert found.kinds == ("landmark", "pose")
    assert found.normaliser == "box"
    groups = {name: rows.tolist() for name, rows in found.groups.items()}
    assert groups == {
        "angles to 99": [True, False],
        "yaw 0 to 30": [False, False],
        "yaw 30 to 60": [True, False],
        "yaw 60 to 90": [False, True],
    }


def test_aflw2000_with_other_files(tmp_path):
    savemat(tmp_path / "image00002.mat", {"Pose_Para": [[0.1, 0.2]], "pt3d_68": np.zeros((3, 68))})
    (tmp_path / "image00002.jpg").touch()
    with pytest.raises(InputError, match="a pose of 3 angles"):
        load_benchmark("aflw2000", tmp_path)
