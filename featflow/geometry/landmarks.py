"""The 68 landmarks of the iBUG / Multi-PIE markup: which index is what.

"Right" and "left" are the subject's; in a picture that is not mirrored the subject's right
eye lies on the image left. Points count from 0 (Sagonas et al. 2013, "300 faces in-the-wild
challenge").
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

PARTS: MappingProxyType[str, range] = MappingProxyType(
    {
        "jaw": range(17),
        "right_brow": range(17, 22),
        "left_brow": range(22, 27),
        "nose": range(27, 36),
        "right_eye": range(36, 42),
        "left_eye": range(42, 48),
        "mouth": range(48, 68),
    }
)
"""Indices of each part, in order."""

OUTER_EYE_CORNERS = (36, 45)
"""Outer corners of the subject's right and left eye; their distance normalises errors."""

NOSE_TIP = 30
MOUTH_CORNERS = (48, 54)


def _mirror_permutation() -> NDArray[np.int64]:
    """Index of each point's partner when left and right change places."""
    partner = np.arange(68)
    partner[0:17] = np.arange(16, -1, -1)
    partner[17:27] = np.arange(26, 16, -1)
    partner[31:36] = np.arange(35, 30, -1)
    partner[36:42] = [45, 44, 43, 42, 47, 46]
    partner[42:48] = [39, 38, 37, 36, 41, 40]
    partner[48:55] = np.arange(54, 47, -1)
    partner[55:60] = np.arange(59, 54, -1)
    partner[60:65] = np.arange(64, 59, -1)
    partner[65:68] = [67, 66, 65]
    partner.setflags(write=False)
    return partner


MIRROR_68: NDArray[np.int64] = _mirror_permutation()
"""(68,) ``points[MIRROR_68]`` gives each point the index of its partner on the other side."""


def mirror_landmarks(points: Floats, width: float) -> NDArray[np.float64]:
    """Landmarks (..., 68, 2) of the mirrored picture, which is ``width`` pixels wide.

    A mirror takes x to ``width - x`` in continuous pixels and exchanges left and right.
    """
    mirrored = np.asarray(points, np.float64)[..., MIRROR_68, :].copy()
    mirrored[..., 0] = width - mirrored[..., 0]
    return mirrored


def five_points(points: Floats) -> NDArray[np.float64]:
    """Eye centres, nose tip and mouth corners, image left first, of (..., 68, D) points.

    Returns:
        (..., 5, D); an eye's centre is the mean of its six points.
    """
    p = np.asarray(points, np.float64)
    eyes = [p[..., PARTS[side].start : PARTS[side].stop, :].mean(-2) for side in _EYES]
    return np.stack([*eyes, *(p[..., i, :] for i in (NOSE_TIP, *MOUTH_CORNERS))], -2)


_EYES = ("right_eye", "left_eye")


def interocular(points: Floats) -> NDArray[np.float64]:
    """Distance of the outer eye corners of (..., 68, D) points."""
    p = np.asarray(points, np.float64)
    right, left = OUTER_EYE_CORNERS
    return np.asarray(np.linalg.norm(p[..., right, :] - p[..., left, :], axis=-1), np.float64)


FOREHEAD = 0.30
"""How far a detector's box reaches above the brows, in heights of the 68 points."""


def box_of_landmarks(points: Floats) -> NDArray[np.float64]:
    """Box (..., 4) that a detector would draw around upright points (..., 68, 2)."""
    p = np.asarray(points, np.float64)
    low, high = p.min(-2), p.max(-2)
    low[..., 1] -= FOREHEAD * (high - low)[..., 1]
    return np.concatenate([low, high], -1)
