"""Warps that slide along one direction: lids over the eye, lips over the teeth.

In a local frame whose axis joins two corners, every column is stretched piece by piece between
knots that keep their order. Such a map cannot fold, and its inverse is the same map with the
knots exchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
"""Of float32 for pixels, of float64 for landmarks; functions keep what they are given."""


@dataclass(frozen=True)
class Strip:
    """Local frame of a slit (an eye or a mouth).

    Attributes:
        centre: continuous pixels, between the corners.
        axis: unit vector from the corner on the image left to the other.
        half_px: half the distance of the corners.
    """

    centre: tuple[float, float]
    axis: tuple[float, float]
    half_px: float

    @classmethod
    def between(cls, left: Floats, right: Floats) -> Strip:
        """Frame of two corners, the one on the image left first."""
        along = right - left
        length = max(float(np.linalg.norm(along)), 1e-6)
        (x, y), (across, down) = ((left + right) / 2).tolist(), (along / length).tolist()
        return cls((x, y), (across, down), length / 2)

    def to_local(self, points: Floats) -> tuple[Floats, Floats]:
        """Position along the axis (-1..1 between the corners) and pixels below it."""
        x, y = points[..., 0] - self.centre[0], points[..., 1] - self.centre[1]
        along = (x * self.axis[0] + y * self.axis[1]) / self.half_px
        return along, y * self.axis[0] - x * self.axis[1]

    def to_pixels(self, along: Floats, below: Floats) -> Floats:
        """Inverse of :meth:`to_local`, as (..., 2)."""
        a = along * self.half_px
        x = self.centre[0] + a * self.axis[0] - below * self.axis[1]
        y = self.centre[1] + a * self.axis[1] + below * self.axis[0]
        return np.stack([x, y], -1)

    def vectors(self, along: Floats, below: Floats) -> Floats:
        """Pixel displacements (..., 2) of changes of :meth:`to_local`."""
        a = along * self.half_px
        x = a * self.axis[0] - below * self.axis[1]
        y = a * self.axis[1] + below * self.axis[0]
        return np.stack([x, y], -1)


@dataclass(frozen=True)
class Place:
    """Points as a slit sees them; made once for the pixels around it.

    Attributes:
        along, below: (...,) see :meth:`Strip.to_local`.
        upper, lower: (...,) edges of the slit at these points, pixels below the axis.
    """

    along: Floats
    below: Floats
    upper: Floats
    lower: Floats

    def __getitem__(self, view: Any) -> Place:
        return Place(self.along[view], self.below[view], self.upper[view], self.lower[view])


@dataclass(frozen=True)
class Arch:
    """A curve from corner to corner, ``(1 - s^2) * polynomial(s)`` pixels below the axis.

    Attributes:
        terms: coefficients of the polynomial, constant first.
    """

    terms: tuple[float, ...]

    @classmethod
    def through(cls, along: Floats, below: Floats) -> Arch:
        """The arch through as many points as it has terms."""
        inside = np.clip(along, -0.95, 0.95)
        powers = np.stack([inside**k for k in range(len(inside))], 1) * (1 - inside**2)[:, None]
        solution, *_ = np.linalg.lstsq(powers, below, rcond=1e-6)
        return cls(tuple(solution.tolist()))

    def __call__(self, along: Floats) -> Floats:
        """Pixels below the axis; 0 beyond the corners."""
        total = np.zeros_like(along)
        for term in reversed(self.terms):
            total = total * along + term
        return bump(along) * total


def bump(along: Floats) -> Floats:
    """1 in the middle, 0 at the corners and beyond."""
    return np.maximum(1 - along * along, 0.0)


def slide(below: Floats, source: list[Floats], target: list[Floats]) -> Floats:
    """Carry ``below`` through the piecewise linear map of the knots; unchanged outside them.

    Args:
        below: (...,) positions.
        source, target: knots in rising order, each broadcastable to ``below``.
    """
    moved = below.copy()
    for i in range(len(source) - 1):
        length = np.maximum(source[i + 1] - source[i], 1e-6)
        part = (below - source[i]) / length
        piece = target[i] + part * (target[i + 1] - target[i])
        inside = (below >= source[i]) & (below < source[i + 1])
        moved = np.where(inside, piece, moved)
    return moved
