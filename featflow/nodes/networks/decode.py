"""What the numbers of the published networks mean, as closed formulas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from featflow.errors import ArrayError, WeightsError
from featflow.geometry.rotation import angles_from_rotation, rotation_from_vector

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]

GAZE_BIN_DEGREES = 4.0
GAZE_FIRST_DEGREES = -180.0
OUTER_EYE_CORNERS = (36, 45)

_CAMERA = np.diag([1.0, -1.0, -1.0])
"""Between img2pose's camera (y down, z away) and featflow's (y up, z towards the camera)."""


def crop_points(outputs: Floats, size: int) -> Doubles:
    """Landmark outputs (N, 136), x and y in turn and 1 the crop's side, to crop pixels.

    Returns:
        (N, 68, 2) continuous pixels: 0 is the outer edge of the crop's first pixel.
    """
    values = np.asarray(outputs, np.float64)
    return np.asarray(values.reshape(len(values), values.shape[1] // 2, 2) * size, np.float64)


def l2cs_angles(horizontal: Floats, vertical: Floats) -> Doubles:
    """Gaze from the two heads of L2CS, in the order in which its forward pass returns them.

    Each head spreads a probability over 90 bins of 4 degrees that start at -180; the angle is
    the mean. The horizontal head (``fc_yaw_gaze`` in the file, "pitch" in the authors' code)
    is positive towards the image's left, which is the subject's right; the vertical one is
    positive upwards. Those are featflow's signs, so nothing is negated.

    Args:
        horizontal, vertical: (N, 90) logits.

    Returns:
        (N, 2) pitch and yaw in radians.
    """
    angles = GAZE_FIRST_DEGREES + GAZE_BIN_DEGREES * np.arange(np.shape(horizontal)[-1])
    yaw, pitch = (
        softmax(np.asarray(logits, np.float64), -1) @ angles for logits in (horizontal, vertical)
    )
    return np.asarray(np.radians(np.stack([pitch, yaw], -1)), np.float64)


def gaze_angle(gaze: Floats) -> Doubles:
    """Angle between gaze (..., 2), pitch and yaw, and the optical axis, in radians."""
    g = np.asarray(gaze, np.float64)
    cosine = np.cos(g[..., 0]) * np.cos(g[..., 1])
    return np.asarray(np.arccos(np.clip(cosine, -1.0, 1.0)), np.float64)


def pose_mlp_input(landmarks: Floats) -> NDArray[np.float32]:
    """Landmarks (N, 68, 2) in any pixels to what the pose perceptron sees, (N, 136).

    All x and then all y, about their mean, in units of the distance between the outer
    corners of the eyes. NaN where those corners coincide.
    """
    points = np.asarray(landmarks, np.float64)
    if points.ndim != 3 or points.shape[1:] != (68, 2):
        raise ArrayError("landmarks", f"have shape {points.shape}, need (N, 68, 2)")
    left, right = OUTER_EYE_CORNERS
    unit = np.linalg.norm(points[:, left] - points[:, right], axis=1)
    unit = np.where(unit > 0, unit, np.nan)
    centred = (points - points.mean(1, keepdims=True)) / unit[:, None, None]
    return np.asarray(centred.transpose(0, 2, 1).reshape(len(points), 136), np.float32)


def pose_from_raw(raw: Floats, *, euler: bool = False) -> Doubles:
    """Pose in featflow's convention from img2pose's own.

    img2pose's camera has x to the image's right, y down and z away from the camera, and its
    head looks into the camera at rest. Turns about a single axis come out alike either way;
    ``euler`` matters for heads that turn about several at once.

    Args:
        raw: (N, 6) angles about x, y and z in radians, as :func:`euler_angles` makes of
            img2pose's rotation and as the pose perceptron learned to predict, and a translation.
        euler: keep the three angles, as py-feat does, and set their names and signs right.
            By default they become featflow's head angles
            (``docs/decisions/0001-head-angles.md``).

    Returns:
        (N, 6) pitch, roll, yaw in radians (+ up, + tilt and turn to the subject's right) and
        the translation unchanged.
    """
    r = np.asarray(raw, np.float64)
    if euler:
        angles = np.stack([-r[:, 0], -r[:, 2], r[:, 1]], -1)
    else:
        angles = angles_from_rotation(_CAMERA @ _from_euler(r[:, :3]) @ _CAMERA)
    return np.concatenate([angles, r[:, 3:]], 1)


def _from_euler(angles: Doubles) -> Doubles:
    """Rotations (N, 3, 3) about x, then the fixed y, then the fixed z axis."""
    axes = np.eye(3)
    x, y, z = (rotation_from_vector(angles[:, i : i + 1] * axes[i]) for i in range(3))
    return np.asarray(z @ y @ x, np.float64)


def pose_mlp_pose(outputs: Floats, mean: Floats, std: Floats, *, euler: bool = False) -> Doubles:
    """Standardised outputs (N, 6) of the pose perceptron to pose; see :func:`pose_from_raw`.

    Args:
        outputs: (N, 6).
        mean, std: (6,) of the training targets, from the checkpoint's JSON file.
        euler: see :func:`pose_from_raw`.
    """
    return pose_from_raw(np.asarray(outputs, np.float64) * std + mean, euler=euler)


def pose_mlp_statistics(config: Mapping[str, Any]) -> tuple[Doubles, Doubles]:
    """Mean and standard deviation, (6,) each, from the pose perceptron's JSON file.

    Raises:
        WeightsError: the file does not hold them.
    """
    try:
        statistics = config["architecture"]["output_normalization"]
        mean = np.asarray(statistics["mean"], np.float64)
        std = np.asarray(statistics["std"], np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"not the pose perceptron's JSON file: {error!r}") from error
    if mean.shape != (6,) or std.shape != (6,):
        raise WeightsError(f"the pose perceptron needs 6 means and stds, got {mean.shape}")
    return mean, std


def euler_angles(rotations: Floats) -> Doubles:
    """Angles about the fixed x, y and z axes, in that order, of rotations (N, 3, 3)."""
    m = np.asarray(rotations, np.float64)
    about_x = np.arctan2(m[:, 2, 1], m[:, 2, 2])
    about_y = np.arcsin(np.clip(-m[:, 2, 0], -1.0, 1.0))
    about_z = np.arctan2(m[:, 1, 0], m[:, 0, 0])
    return np.stack([about_x, about_y, about_z], -1)
