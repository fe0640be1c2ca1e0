"""Head rotations: matrices, the three head angles, rotation vectors and the 6D form.

The camera frame has x to the image right, y up, z towards the camera. The columns of a
head's matrix are its axes in that frame: the subject's left, up, forward. Angles are
radians: ``pitch`` + up, ``roll`` + tilt towards the subject's right shoulder, ``yaw`` + turn
to the subject's right, which is the image left. Why these three and not Euler angles:
``docs/decisions/0001-head-angles.md``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating[Any]]


def rotation_from_angles(pitch: ArrayLike, roll: ArrayLike, yaw: ArrayLike) -> NDArray[np.float64]:
    """Head matrices from angles in radians; the inverse of :func:`angles_from_rotation`.

    Pitch and yaw place the forward axis; roll is the direction in which the head's up axis
    points in the picture.

    Args:
        pitch, roll, yaw: radians, broadcast against each other; pitch and yaw within
            (-pi/2, pi/2).

    Returns:
        (..., 3, 3) rotation matrices.
    """
    p, r, y = np.broadcast_arrays(
        np.asarray(pitch, np.float64), np.asarray(roll, np.float64), np.asarray(yaw, np.float64)
    )
    forward = np.stack([-np.sin(y) * np.cos(p), np.sin(p), np.cos(y) * np.cos(p)], -1)
    # The up axis is seen along (-sin r, cos r); its depth follows from up . forward = 0.
    depth = (np.sin(r) * forward[..., 0] - np.cos(r) * forward[..., 1]) / forward[..., 2]
    up = np.stack([-np.sin(r), np.cos(r), depth], -1)
    up /= np.linalg.norm(up, axis=-1, keepdims=True)
    return np.stack([np.cross(up, forward), up, forward], -1)


def angles_from_rotation(rotation: Floats) -> NDArray[np.float64]:
    """Pitch, roll and yaw in radians of head matrices (..., 3, 3), as (..., 3)."""
    m = np.asarray(rotation, np.float64)
    pitch = np.arcsin(np.clip(m[..., 1, 2], -1.0, 1.0))
    roll = np.arctan2(-m[..., 0, 1], m[..., 1, 1])
    yaw = np.arctan2(-m[..., 0, 2], m[..., 2, 2])
    return np.stack([pitch, roll, yaw], -1)


def rotation_from_vector(vector: Floats) -> NDArray[np.float64]:
    """Matrices (..., 3, 3) of rotation vectors (..., 3): axis times angle in radians."""
    v = np.asarray(vector, np.float64)
    angle = np.linalg.norm(v, axis=-1)[..., None, None]
    cross = np.zeros((*v.shape[:-1], 3, 3))
    cross[..., 2, 1], cross[..., 0, 2], cross[..., 1, 0] = v[..., 0], v[..., 1], v[..., 2]
    cross = cross - np.swapaxes(cross, -1, -2)
    # np.sinc is sin(pi x)/(pi x): exact at 0, where Rodrigues' quotients are 0/0.
    first = np.sinc(angle / np.pi)
    second = 0.5 * np.sinc(angle / (2 * np.pi)) ** 2
    return np.asarray(np.eye(3) + first * cross + second * (cross @ cross), np.float64)


def vector_from_rotation(rotation: Floats) -> NDArray[np.float64]:
    """Rotation vectors (..., 3), of length 0..pi, of matrices (..., 3, 3)."""
    m = np.asarray(rotation, np.float64)
    quaternion = _quaternion(m)
    axis, w = quaternion[..., :3], quaternion[..., 3]
    sine = np.linalg.norm(axis, axis=-1)
    angle = 2 * np.arctan2(sine, w)
    # Near 0 the quotient tends to 2; dividing by a floor there would lose it.
    factor = np.divide(angle, sine, out=np.full_like(angle, 2.0), where=sine > 1e-12)
    return np.asarray(axis * factor[..., None], np.float64)


def _quaternion(m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit quaternions x, y, z, w with w >= 0; the best conditioned of Shepperd's four."""
    trace = np.trace(m, axis1=-2, axis2=-1)
    table = np.empty((*m.shape[:-2], 4, 4))
    table[..., :3, :3] = m + np.swapaxes(m, -1, -2)
    for i in range(3):
        table[..., i, i] += 1 - trace
    skew = np.stack(
        [m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]], -1
    )
    table[..., :3, 3] = table[..., 3, :3] = skew
    table[..., 3, 3] = 1 + trace
    best = np.diagonal(table, axis1=-2, axis2=-1).argmax(-1)
    chosen = np.take_along_axis(table, best[..., None, None], -2)[..., 0, :]
    chosen = chosen * np.where(chosen[..., 3:] < 0, -1.0, 1.0)
    return np.asarray(chosen / np.linalg.norm(chosen, axis=-1, keepdims=True), np.float64)


def rotation_from_sixd(sixd: Floats) -> NDArray[np.float64]:
    """Matrices from two columns that need be neither unit nor orthogonal.

    The continuous representation of Zhou et al. 2019 (CVPR, "On the continuity of rotation
    representations"), with Gram-Schmidt.

    Args:
        sixd: (..., 6): first column, then second column.
    """
    x = np.asarray(sixd, np.float64)
    first = _unit(x[..., :3])
    second = x[..., 3:] - (first * x[..., 3:]).sum(-1, keepdims=True) * first
    second = _unit(second)
    return np.stack([first, second, np.cross(first, second)], -1)


def sixd_from_rotation(rotation: Floats) -> NDArray[np.float64]:
    """First and second column of matrices (..., 3, 3), as (..., 6)."""
    m = np.asarray(rotation, np.float64)
    return np.concatenate([m[..., :, 0], m[..., :, 1]], -1)


def angle_between(a: Floats, b: Floats) -> NDArray[np.float64]:
    """Angle in radians, 0..pi, of the rotation that carries ``a`` to ``b``, both (..., 3, 3)."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    vector = vector_from_rotation(np.swapaxes(a, -1, -2) @ b)
    return np.asarray(np.linalg.norm(vector, axis=-1), np.float64)


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(vector / np.linalg.norm(vector, axis=-1, keepdims=True), np.float64)
