"""How heads are turned: BIWI and AFLW2000-3D."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featflow.datasets.benchmarks.files import (
    MATLAB_PIXEL,
    lines_of,
    matlab_of,
    numbers_of,
    present,
)
from featflow.datasets.benchmarks.sets import FaceSet, Floats, of_photographs
from featflow.errors import InputError

FLIP = np.diag([1.0, -1.0, -1.0])
"""Between a camera's frame (x right, y down, z away) and ours (x right, y up, z to the camera)."""

MOST_TURNED_DEG = 99.0
"""Angle above which papers leave out pictures of AFLW2000-3D, 31 of 2,000."""


def biwi(root: Path) -> FaceSet:
    """BIWI Kinect head pose: people before a Kinect who turn their heads.

    ``01/frame_00003_pose.txt`` has the head's rotation in the frame of the depth camera and, below
    it, the centre of the head in millimetres; ``01/frame_00003_rgb.png`` is the picture and
    ``01/rgb.cal`` has, in its third block, the rotation from the depth to the colour camera.
    """
    pictures, rotations = [], []
    for folder in sorted(p for p in root.glob("[0-9][0-9]") if p.is_dir()):
        to_colour = _colour_camera(folder / "rgb.cal")
        for path in sorted(folder.glob("frame_*_pose.txt")):
            head = _matrix(path, lines_of(path)[:3])
            pictures.append(folder / path.name.replace("_pose.txt", "_rgb.png"))
            rotations.append(FLIP @ to_colour @ head @ FLIP)
    return of_photographs(present(pictures), rotations=np.array(rotations).reshape(-1, 3, 3))


def _colour_camera(path: Path) -> NDArray[np.float64]:
    """Rotation of ``rgb.cal``, whose blocks are intrinsics, distortion, rotation, translation."""
    return _matrix(path, lines_of(path)[4:7])


def _matrix(path: Path, lines: list[str]) -> NDArray[np.float64]:
    """A rotation of three rows.

    Raises:
        InputError: the rows are no rotation.
    """
    matrix = np.array([numbers_of(path, line.split(), 3) for line in lines])
    if matrix.shape != (3, 3) or not np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-2):
        raise InputError(str(path), f"expected the three rows of a rotation, got {lines}")
    return matrix


def rotation_of_angles(pitch: Floats, yaw: Floats, roll: Floats) -> NDArray[np.float64]:
    """Heads (N, 3, 3) from the angles (N,) in radians that AFLW2000-3D and 300W-LP give.

    Theirs are factors, pitch before yaw before roll, in our frame: + pitch up, + yaw to the
    subject's right, and + roll to the subject's *left*.
    """
    from scipy.spatial.transform import Rotation

    turned = Rotation.from_euler("XYZ", -np.stack([pitch, yaw, roll], -1))
    return np.asarray(turned.as_matrix(), np.float64)


def aflw2000(root: Path) -> FaceSet:
    """AFLW2000-3D: faces in the wild with a fitted face's pose and 68 points, also hidden ones.

    ``image00002.mat`` beside ``image00002.jpg`` has ``Pose_Para`` (pitch, yaw, roll in radians,
    then translation and scale) and ``pt3d_68``, counted from 1 as Matlab does. Groups: faces whose
    angles papers use, and thirds of the yaw.
    """
    pictures, angles, points = [], [], []
    for path in sorted(root.glob("*.mat")):
        pose, landmarks = matlab_of(path, "Pose_Para", "pt3d_68")
        if np.size(pose) < 3 or np.shape(landmarks)[-1] != 68:
            raise InputError(str(path), "expected a pose of 3 angles and 68 points")
        pictures.append(path.with_suffix(".jpg"))
        angles.append(np.ravel(pose)[:3].astype(np.float64))
        points.append(np.asarray(landmarks, np.float64)[:2].T + MATLAB_PIXEL)
    pitch, yaw, roll = np.array(angles).reshape(-1, 3).T
    landmarks = np.array(points).reshape(-1, 68, 2)
    turn = np.degrees(np.abs(yaw))
    usual = (np.degrees(np.abs(np.stack([pitch, yaw, roll]))) <= MOST_TURNED_DEG).all(0)
    return of_photographs(
        present(pictures),
        np.concatenate([landmarks.min(1), landmarks.max(1)], 1),
        landmarks=landmarks,
        normaliser="box",
        rotations=rotation_of_angles(pitch, yaw, roll),
        groups={
            "angles to 99": usual,
            "yaw 0 to 30": turn <= 30,
            "yaw 30 to 60": (turn > 30) & (turn <= 60),
            "yaw 60 to 90": (turn > 60) & (turn <= 90),
        },
    )
