"""The mouth: lips that part and show the dark between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featflow.animate.strips import Arch, Floats, Place, Strip, bump, slide

LIP_SIDE: NDArray[np.int64] = np.zeros(68, np.int64)
LIP_SIDE[[49, 50, 51, 52, 53, 61, 62, 63]] = 1
LIP_SIDE[[55, 56, 57, 58, 59, 65, 66, 67]] = -1
LIP_SIDE.setflags(write=False)
"""(68,) 1 for landmarks of the upper lip, -1 for those of the lower one."""

_LIFT = 0.15
_MAX_SQUEEZE = 0.75


def _round(along: Floats) -> Floats:
    """1 in the middle, 0 at the corners; rounder than a parabola, which opens as a V."""
    return bump(along) ** 0.6


@dataclass(frozen=True)
class Mouth:
    """Geometry of the mouth at rest.

    Attributes:
        strip: frame between the inner corners.
        upper, lower: inner edges of the lips.
        upper_px, lower_px: thickness of the lips.
        top_px, bottom_px: distances from the axis at which nothing moves any more.
    """

    strip: Strip
    upper: Arch
    lower: Arch
    upper_px: float
    lower_px: float
    top_px: float
    bottom_px: float

    @classmethod
    def of(cls, landmarks: Floats) -> Mouth:
        """Mouth of (68, 2) landmarks."""
        strip = Strip.between(landmarks[60], landmarks[64])
        along, below = strip.to_local(landmarks)
        upper = Arch.through(along[61:64], below[61:64])
        raw = Arch.through(along[65:68][::-1], below[65:68][::-1])
        # Touching lips may cross by a fraction of a pixel; the slit then has no width.
        crosses = below[66] <= below[62]
        nose, chin = float(below[33]), float(below[8])
        return cls(
            strip,
            upper,
            upper if crosses else raw,
            max(float(below[62] - below[51]), 1.0),
            max(float(below[57] - below[66]), 1.0),
            0.9 * nose,
            max(1.3 * chin, 8.0),
        )

    def room(self, part_px: float) -> tuple[float, float]:
        """Lift of the upper lip and drop of the lower one that leave the skin in order."""
        above = max(float(self.upper(np.zeros(1))[0]) - self.upper_px - self.top_px, 0.0)
        under = self.bottom_px - float(self.lower(np.zeros(1))[0]) - self.lower_px
        lift = min(_LIFT * part_px, _MAX_SQUEEZE * above)
        return lift, min((1 - _LIFT) * part_px, _MAX_SQUEEZE * max(under, 0.0))

    def at(self, points: Floats) -> Place:
        """Points (..., 2) as this mouth sees them."""
        along, below = self.strip.to_local(points)
        upper = self.upper(along)
        return Place(along, below, upper, np.maximum(self.lower(along), upper))

    def _parted(self, place: Place, part_px: float) -> tuple[Floats, Floats]:
        lift, drop = self.room(part_px)
        shape = _round(place.along)
        return shape * lift, shape * drop

    def forward(self, points: Floats, part_px: float, side: NDArray[np.int64]) -> Floats:
        """Where parting lips carry points (..., 2).

        Args:
            points: continuous pixels.
            part_px: how far the lips part in the middle.
            side: (...,) 1 for a point of the upper lip, -1 of the lower, 0 to go by position.
        """
        place = self.at(points)
        below, lower = place.below, place.lower
        lift, drop = self._parted(place, part_px)
        above = slide(below, *self._upper_knots(place, lift))
        above = np.where(below >= lower, below - lift, above)
        under = slide(np.maximum(below, lower), *self._lower_knots(lower, drop))
        goes_up = np.where(side == 0, below < lower, side > 0)
        return self.strip.to_pixels(place.along, np.where(goes_up, above, under))

    def opening(self, place: Place, part_px: float) -> tuple[Floats, Floats, Floats]:
        """The inside of the open mouth.

        Returns:
            (...,) each: upper and lower end of the opening, pixels below the axis, and how much
            the inside covers the point, 0..1.
        """
        lift, drop = self._parted(place, part_px)
        ceiling, floor = place.lower - lift, place.lower + drop
        cover = np.clip(np.minimum(place.below - ceiling, floor - place.below) + 0.5, 0.0, 1.0)
        # A slit thinner than a pixel covers less.
        return ceiling, floor, cover * np.clip(drop + lift, 0.0, 1.0)

    def source(self, place: Place, part_px: float) -> Floats:
        """From each point of the moved mouth to where in the still it is found, (..., 2) pixels."""
        below, lower = place.below, place.lower
        lift, drop = self._parted(place, part_px)
        up_rest, up_moved = self._upper_knots(place, lift)
        low_rest, low_moved = self._lower_knots(lower, drop)
        above = slide(below, up_moved, up_rest)
        under = slide(below, low_moved, low_rest)
        found = np.where(below >= lower + drop, under, np.where(below < lower - lift, above, lower))
        return self.strip.vectors(np.zeros_like(found), found - below)

    def _upper_knots(self, place: Place, lift: Floats) -> tuple[list[Floats], list[Floats]]:
        upper, lower = place.upper, place.lower
        top = np.full_like(upper, self.top_px)
        lip = np.maximum(upper - self.upper_px, top)
        # What the still shows between the lips (teeth) hangs on the upper one, unstretched.
        return [top, lip, upper, lower], [top, lip - lift, upper - lift, lower - lift]

    def _lower_knots(self, lower: Floats, drop: Floats) -> tuple[list[Floats], list[Floats]]:
        bottom = np.full_like(lower, self.bottom_px)
        lip = np.minimum(lower + self.lower_px, bottom)
        return [lower, lip, bottom], [lower + drop, lip + drop, bottom]
