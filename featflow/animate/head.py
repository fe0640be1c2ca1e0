"""Turning a flat head: depth for every pixel of the face, and how far the turn reaches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featflow.animate.rig import FaceFrame
from featflow.animate.scatter import Scatter
from featflow.geometry.landmarks import MIRROR_68
from featflow.geometry.rotation import rotation_from_angles

Floats = NDArray[np.float64]

_HALF_DEPTH: dict[int, float] = {
    **dict(enumerate((0.0, 0.02, 0.09, 0.17, 0.27, 0.40, 0.57, 0.73, 0.74))),
    **dict(zip(range(17, 22), (0.47, 0.59, 0.68, 0.76, 0.78), strict=True)),
    **dict(zip(range(27, 34), (0.78, 0.87, 0.96, 1.04, 0.80, 0.86, 0.88), strict=True)),
    **dict(zip(range(36, 42), (0.54, 0.63, 0.64, 0.61, 0.63, 0.61), strict=True)),
    **dict(zip(range(48, 52), (0.72, 0.83, 0.89, 0.90), strict=True)),
    57: 0.87,
    58: 0.86,
    59: 0.80,
    60: 0.71,
    61: 0.82,
    62: 0.84,
    66: 0.84,
    67: 0.81,
}
"""Depth in front of the ears of the points of the right half and the middle, in units of the
outer eye distance; rounded proportions of an average adult."""

_SKULL = np.array([[0.0, -0.85, 0.62], [0.5, -0.75, 0.42], [-0.5, -0.75, 0.42], [0.0, -1.25, 0.3]])
"""Forehead and crown: x, y and depth in face units."""

_TURN_PIVOT = np.array([0.0, 0.35])
_TILT_PIVOT = np.array([0.0, 1.25])
_CENTRE = np.array([0.0, 0.30])
_RADIUS = np.array([0.95, 1.30])
_REACH = 2.3


def depth68() -> Floats:
    """Depth of the 68 points in front of the ears, in units of the outer eye distance."""
    depth = np.full(68, np.nan)
    for point, value in _HALF_DEPTH.items():
        depth[[point, MIRROR_68[point]]] = value
    return depth


def smoothstep(low: float, high: float, value: Floats) -> Floats:
    """0 below ``low``, 1 above ``high``, smooth between."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t), np.float64)


@dataclass(frozen=True)
class Head:
    """Depth and reach of the head at some points, and the turn of these points.

    Attributes:
        frame: coordinates of the face.
        points: (..., 2) face coordinates of the points.
        depth: (...,) face units in front of the turning axis.
        weight: (...,) 1 on the face, 0 where the head's turn does not reach.
        rest: pitch and yaw of the head in the still, radians.
    """

    frame: FaceFrame
    points: Floats
    depth: Floats
    weight: Floats
    rest: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def at(
        cls, frame: FaceFrame, landmarks: Floats, pixels: Floats, rest: tuple[float, float]
    ) -> Head:
        """Head sampled at ``pixels`` (..., 2), continuous.

        Args:
            frame: coordinates of the face.
            landmarks: (68, 2) continuous pixels.
            pixels: where to sample.
            rest: pitch and yaw of the head in the still, radians.
        """
        places = np.concatenate([frame.from_pixels(landmarks), _SKULL[:, :2]])
        values = np.concatenate([depth68(), _SKULL[:, 2]])
        points = frame.from_pixels(pixels)
        surface = Scatter(places, width=0.4, smoothing=0.005)
        depth = surface.weights(points) @ surface.solve(values[:, None])
        radius = np.linalg.norm((points - _CENTRE) / _RADIUS, axis=-1)
        return cls(frame, points, depth[..., 0], 1 - smoothstep(1.0, _REACH, radius), rest)

    def turned(self, pitch: float, roll: float, yaw: float) -> Floats:
        """Displacement in pixels (..., 2) by a turn of the head, angles in radians."""
        # Angles add to those of the still; roll is already level in face coordinates.
        up, right = self.rest
        now = rotation_from_angles(up + pitch, roll, right + yaw)
        turn = now @ rotation_from_angles(up, 0.0, right).T
        x, y = np.moveaxis(self.points - _TURN_PIVOT, -1, 0)
        seen_x = turn[0, 0] * x - turn[0, 1] * y + turn[0, 2] * self.depth
        seen_y = -turn[1, 0] * x + turn[1, 1] * y - turn[1, 2] * self.depth
        # The head turns about its middle, which a tilt carries around the neck. Tilting to the
        # character's right turns the picture of the head anticlockwise.
        cos, sin = np.cos(roll), np.sin(roll)
        arm = _TURN_PIVOT - _TILT_PIVOT
        middle = _TILT_PIVOT + arm @ np.array([[cos, -sin], [sin, cos]])
        moved = np.stack([seen_x, seen_y], -1) + middle
        shift = (moved - self.points) * self.weight[..., None]
        return self.frame.vectors_to_pixels(shift)
