"""Smooth displacement over the whole still: brows, mouth corners, jaw, head, body, breath.

The field is kept on a grid of one node in four pixels. It is held to a contraction (no two
points move towards each other by more than 80 % of their distance), so that it cannot fold and
its inverse is found by repetition (Banach).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from featflow.animate.actions import Effort, landmark_movements
from featflow.animate.head import Head, smoothstep
from featflow.animate.rig import FaceFrame, Rig
from featflow.animate.sampling import read_at
from featflow.animate.scatter import Scatter

Floats = NDArray[np.float64]
Grid = NDArray[np.float32]

STEP = 4
MAX_STRETCH = 0.8
_STILL_PX = 1e-3
_MOVEMENT_WIDTH = 0.17
_MOVEMENT_SMOOTHING = 0.05
_BREATH_FROM, _BREATH_TO = 1.35, 2.3


class SmoothField:
    """Displacement of the still by one pose, at any points.

    Args:
        rig: landmarks and learned movements.
        pixels: (..., 2) continuous pixels at which the field is wanted.
    """

    def __init__(self, rig: Rig, pixels: Floats) -> None:
        self._frame = FaceFrame.of(rig.landmarks)
        self._head = Head.at(self._frame, rig.landmarks, pixels, rig.rest)
        movements = landmark_movements(rig.actions)
        self._active = np.flatnonzero(np.abs(movements).reshape(45, -1).max(1))
        surface = Scatter(
            self._frame.from_pixels(rig.landmarks), _MOVEMENT_WIDTH, _MOVEMENT_SMOOTHING
        )
        influence = surface.weights(self._frame.from_pixels(pixels))
        fields = [influence @ surface.solve(movements[i]) for i in self._active]
        in_pixels = [self._frame.vectors_to_pixels(f) for f in fields]
        self._basis = np.array(in_pixels, np.float32).reshape(len(in_pixels), -1)
        self._shape = pixels.shape
        self._foot = np.array([rig.size_px[1] / 2, float(rig.size_px[0])])
        self._offset = pixels - self._foot
        self._chest = smoothstep(_BREATH_FROM, _BREATH_TO, self._head.points[..., 1])
        self._chest = self._chest.astype(np.float32)

    def __call__(self, effort: Effort) -> Grid:
        """Displacement in pixels (..., 2), before it is held to a contraction."""
        weights = effort.smooth[self._active]
        moving = np.flatnonzero(weights)
        total = weights[moving].astype(np.float32) @ self._basis[moving]
        shift = total.reshape(self._shape)
        if any(effort.head):
            shift += self._head.turned(*effort.head).astype(np.float32)
        if effort.body_tilt:
            shift += self._leaned(effort.body_tilt).astype(np.float32)
        if effort.breath:
            shift[..., 1] -= np.float32(effort.breath * self._frame.unit_px) * self._chest
        return np.asarray(shift, np.float32)

    def _leaned(self, angle: float) -> Floats:
        cos, sin = np.cos(angle), np.sin(angle)
        turn = np.array([[cos, -sin], [sin, cos]])
        return np.asarray(self._offset @ turn - self._offset, np.float64)


def grid_nodes(size_px: tuple[int, int]) -> Floats:
    """(rows, columns, 2) continuous pixels of the nodes: middles of blocks of STEP pixels."""
    rows, columns = (-(-side // STEP) for side in size_px)
    y, x = np.mgrid[0:rows, 0:columns] * float(STEP) + STEP / 2
    return np.stack([x, y], -1)


def stretch(shift: Grid) -> float:
    """Largest operator norm of the gradient of a field on the grid (rows, columns, 2)."""
    gradients = []
    for plane in (shift[..., 0], shift[..., 1]):
        # At the middle of each cell, so that a mirrored field has the same stretch.
        across, down = plane[:, 1:] - plane[:, :-1], plane[1:] - plane[:-1]
        gradients.append(across[:-1] + across[1:])
        gradients.append(down[:, :-1] + down[:, 1:])
    xx, xy, yx, yy = gradients
    square = xx * xx + xy * xy + yx * yx + yy * yy
    det = xx * yy - xy * yx
    inner = np.sqrt(np.maximum(square * square - 4 * det * det, 0.0))
    norm = float((square + inner).max(initial=0.0))
    return float(np.sqrt(norm / 2)) / (2 * STEP)


def contract(shift: Grid) -> tuple[Grid, float]:
    """Scale a field on the grid down where it stretches too much.

    Returns:
        The field and its stretch, at most ``MAX_STRETCH``.
    """
    rate = stretch(shift)
    if rate <= MAX_STRETCH:
        return shift, rate
    return shift * np.float32(MAX_STRETCH / rate), MAX_STRETCH


def inverse(shift: Grid, rate: float) -> Grid:
    """Displacement from moved to rest: ``u(y) = -d(y + u(y))`` on the same grid.

    Args:
        shift: a contraction (rows, columns, 2), pixels.
        rate: its stretch, below 1.
    """
    largest = float(np.abs(shift).max(initial=0.0))
    if largest == 0.0:
        return shift
    # Repetition shrinks the error by `rate` each time; 0.02 pixels is below what shows.
    rounds = int(np.clip(np.ceil(np.log(0.02 / largest) / np.log(max(rate, 1e-3))), 2, 24))
    back: Grid = -shift
    # Where nothing moves, nothing comes from elsewhere: only the moving part is repeated.
    moving = np.maximum(np.abs(shift[..., 0]), np.abs(shift[..., 1])) > _STILL_PX
    down, across = np.flatnonzero(moving.any(1)), np.flatnonzero(moving.any(0))
    if not len(down):
        return back
    view = np.s_[down[0] : down[-1] + 1, across[0] : across[-1] + 1]
    part = np.ascontiguousarray(shift[view])
    y, x = np.mgrid[0 : part.shape[0], 0 : part.shape[1]].astype(np.float32)
    node, found = np.stack([x, y], -1), -part
    for _ in range(rounds):
        found = -read_at(part, node + found * np.float32(1 / STEP))
    back[view] = found
    return back
