"""One eye: lids that slide, and an iris that turns below them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from featflow.animate.actions import GAZE_SHIFT
from featflow.animate.strips import Arch, Floats, Place, Strip, bump, slide

MIN_GAP = 0.12
"""Gap over width below which an eye counts as closed in the still."""

MIN_WIDTH_PX = 8.0
_LASH = 0.25
_SKIN = 1.4
_SKIN_LEAST = 0.4
_BELOW_BROW = 0.55


@dataclass(frozen=True)
class Eye:
    """Geometry of one eye at rest.

    Attributes:
        strip: frame between its corners.
        upper, lower: edges of the lids.
        gap_px: largest distance of the lids.
        skin: how much skin above the lashes gives way, in gaps; the brow stays where it is.
    """

    strip: Strip
    upper: Arch
    lower: Arch
    gap_px: float
    skin: float = _SKIN

    @classmethod
    def of(cls, points: Floats, brow: Floats) -> Eye:
        """Eye of its six landmarks in iBUG order (image-left corner first, then clockwise).

        Args:
            points: (6, 2) continuous pixels.
            brow: (5, 2) landmarks of the brow above it.
        """
        strip = Strip.between(points[0], points[3])
        along, below = strip.to_local(points)
        upper = Arch.through(along[1:3], below[1:3])
        lower = Arch.through(along[[5, 4]], below[[5, 4]])
        sample = np.linspace(-0.9, 0.9, 19)
        gap = float((lower(sample) - upper(sample)).max())
        brow_along, brow_below = strip.to_local(brow)
        room = float((upper(brow_along) - brow_below)[np.abs(brow_along) < 1].min(initial=np.inf))
        free = _BELOW_BROW * room / max(gap, 1e-6) - _LASH
        return cls(strip, upper, lower, gap, float(np.clip(free, _SKIN_LEAST, _SKIN)))

    @property
    def opens(self) -> bool:
        """Whether the eye is open and large enough in the still to be moved."""
        wide = 2 * self.strip.half_px
        return wide >= MIN_WIDTH_PX and self.gap_px >= MIN_GAP * wide

    @property
    def lash(self) -> float:
        """Height of the lashes, in gaps: they come down with the lid unstretched."""
        return _LASH

    @property
    def reach_px(self) -> float:
        """Distance from the axis beyond which nothing moves."""
        return _SKIN * self.gap_px + self.gap_px * (_LASH + 1)

    def at(self, points: Floats) -> Place:
        """Points (..., 2) as this eye sees them."""
        along, below = self.strip.to_local(points)
        upper = self.upper(along)
        return Place(along, below, upper, np.maximum(self.lower(along), upper))

    def _knots(self, place: Place, shift: Floats) -> tuple[list[Floats], list[Floats]]:
        upper, lower = place.upper, place.lower
        gap = lower - upper
        lash = _LASH * gap
        top, bottom = upper - lash - self.skin * gap, lower + _SKIN * gap
        down, up = float(shift[0]) * gap, float(shift[1]) * gap
        rest: list[Floats] = [top, upper - lash, upper, lower, bottom]
        moved: list[Floats] = [top, upper - lash + down, upper + down, lower - up, bottom]
        return rest, moved

    def forward(self, points: Floats, shift: Floats) -> Floats:
        """Where the lids carry points (..., 2); gaze moves no landmark."""
        place = self.at(points)
        rest, moved = self._knots(place, shift)
        slid = slide(place.below, rest, moved)
        below = np.where(np.abs(place.along) < 1, slid, place.below)
        return self.strip.to_pixels(place.along, below)

    def source(self, place: Place, shift: Floats, gaze: tuple[float, float]) -> Floats:
        """From each point of the moved eye to where in the still it is found, (..., 2) pixels."""
        rest, moved = self._knots(place, shift)
        found = place.below
        if shift.any():
            found = np.where(np.abs(place.along) < 1, slide(found, moved, rest), found)
        along = place.along
        if gaze != (0.0, 0.0):
            along, found = self._turned(place, found, gaze)
        return self.strip.vectors(along - place.along, found - place.below)

    def _turned(
        self, place: Place, below: Floats, gaze: tuple[float, float]
    ) -> tuple[Floats, Floats]:
        upper, lower = place.upper, place.lower
        gap = lower - upper
        # One pixel of blending at the lids: the eyeball ends there, the skin does not move.
        edge = np.clip(np.minimum(below - upper, lower - below), 0.0, 1.0)
        window = bump(place.along) ** 2 * edge
        down = 0.7 * GAZE_SHIFT * gaze[1] * gap
        shifted = np.clip(below - down * window, upper + 0.08 * gap, lower - 0.08 * gap)
        # Clamping would pull rows that lie on the lid itself; only the eyeball is clamped.
        along = place.along - GAZE_SHIFT * gaze[0] * window
        return along, np.where(window > 0, shifted, below)
