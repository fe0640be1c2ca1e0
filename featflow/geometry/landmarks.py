"""The iBUG-68 landmark scheme: parts, mirror order, five points, inter-ocular distance."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

# fmt: off
MIRROR_68: NDArray[np.int64] = np.array([
    16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0,
    26, 25, 24, 23, 22, 21, 20, 19, 18, 17,
    27, 28, 29, 30, 35, 34, 33, 32, 31,
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55,
    64, 63, 62, 61, 60, 67, 66, 65,
])
# fmt: on
"""Which point each point becomes in a mirror."""


def interocular(landmarks: Floats) -> NDArray[np.float64]:
    """Distance of the outer eye corners (points 36 and 45), (..., 68, 2) to (...)."""
    points = np.asarray(landmarks, np.float64)
    return np.asarray(np.linalg.norm(points[..., 36, :] - points[..., 45, :], axis=-1))
