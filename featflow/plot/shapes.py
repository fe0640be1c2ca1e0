"""What there is to draw of faces, as points in original-frame pixels, for any canvas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from featflow.fex.schema import FACEBOX, LANDMARK, POSE, Group
from featflow.geometry.landmarks import PARTS
from featflow.geometry.rotation import rotation_from_angles

Floats = NDArray[np.float64]

PATHS: tuple[tuple[range, bool], ...] = (
    (PARTS["jaw"], False),
    (PARTS["right_brow"], False),
    (PARTS["left_brow"], False),
    (PARTS["nose"][:4], False),
    (PARTS["nose"][4:], False),
    (PARTS["right_eye"], True),
    (PARTS["left_eye"], True),
    (PARTS["mouth"][:12], True),
    (PARTS["mouth"][12:], True),
)
"""Points that a line joins, and whether it closes: jaw, brows, nose bridge and base, eyes,
outer and inner lip."""

AXIS_COLOURS = ((230, 50, 50), (60, 180, 75), (50, 110, 240))
"""RGB of the head's axes: subject's left, up, forward."""
BOX_COLOUR = (255, 200, 40)
POINT_COLOUR = (70, 230, 230)


def pose_axes(pitch: ArrayLike, roll: ArrayLike, yaw: ArrayLike) -> Floats:
    """Where the head's axes point in the picture.

    Args:
        pitch, roll, yaw: radians, broadcast against each other.

    Returns:
        (..., 3, 2) offsets of the unit axes subject's left, up and forward, seen from afar;
        x to the image's right, y down.
    """
    rotation = rotation_from_angles(pitch, roll, yaw)
    return np.stack([rotation[..., 0, :], -rotation[..., 1, :]], -1)


@dataclass(frozen=True, slots=True)
class FaceShapes:
    """N faces; NaN where a table does not say.

    Attributes:
        box: (N, 4) x0, y0, x1, y1.
        points: (N, 68, 2).
        axes: (N, 4, 2) origin of the head's axes and the ends of left, up and forward.
    """

    box: Floats
    points: Floats
    axes: Floats

    def __len__(self) -> int:
        return len(self.box)

    def __getitem__(self, rows: slice | NDArray[Any]) -> FaceShapes:
        return FaceShapes(self.box[rows], self.points[rows], self.axes[rows])

    @classmethod
    def from_rows(cls, rows: pd.DataFrame) -> FaceShapes:
        """Shapes of the rows of a table, one each, also of rows without a face."""
        box = FACEBOX.unpack(_columns(rows, FACEBOX)).astype(np.float64)
        points = LANDMARK.unpack(_columns(rows, LANDMARK)).astype(np.float64)
        angles = _columns(rows, POSE)[:, :3].astype(np.float64)
        return cls(box, points, _axes(box, points, angles))


def _columns(rows: pd.DataFrame, group: Group) -> Floats:
    """Packed columns of a group; NaN where the table lacks them."""
    names = list(group.packed_names())
    return rows.reindex(columns=names).to_numpy(np.float64)


def _axes(box: Floats, points: Floats, angles: Floats) -> Floats:
    """The head's axes from the middle of the points, or of the box where there are none."""
    low, high = box[:, :2].copy(), box[:, 2:].copy()
    has_points = np.isfinite(points).all((1, 2))
    if has_points.any():
        low[has_points] = points[has_points].min(1)
        high[has_points] = points[has_points].max(1)
    origin, length = (low + high) / 2, (high - low).max(1) / 2
    tips = pose_axes(angles[:, 0], angles[:, 1], angles[:, 2]) * length[:, None, None]
    return np.concatenate([origin[:, None], origin[:, None] + tips], 1)
