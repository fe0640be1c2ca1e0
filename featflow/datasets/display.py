"""Display rotation: how a clip's stored pictures are turned before they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Orientation:
    """One of the eight ways to turn and mirror a picture.

    Attributes:
        transpose: rows become columns, before the flips.
        flip_x: mirror left and right.
        flip_y: mirror top and bottom.
    """

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def mirrored(self) -> bool:
        """Whether no turn alone could do it."""
        return (self.transpose + self.flip_x + self.flip_y) % 2 == 1

    def size(self, stored_px: tuple[int, int]) -> tuple[int, int]:
        """Displayed (height, width) of a stored (height, width); its own inverse."""
        return stored_px[::-1] if self.transpose else stored_px

    def apply(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn stored pixels (H, W, 3) upright; contiguous."""
        if self.transpose:
            pixels = pixels.transpose(1, 0, 2)
        if self.flip_x:
            pixels = pixels[:, ::-1]
        if self.flip_y:
            pixels = pixels[::-1]
        return np.ascontiguousarray(pixels)


UPRIGHT = Orientation()


def from_matrix(matrix: NDArray[np.integer[Any]]) -> Orientation:
    """Read a display matrix (ISO/IEC 14496-12, ``tkhd``): nine numbers a b u c d v x y w.

    It carries stored (x, y) to displayed (a x + c y, b x + d y), y down. Turns that are not
    of quarters are taken as the nearest.
    """
    a, b, c, d = (int(matrix[i]) for i in (0, 1, 3, 4))
    if max(abs(b), abs(c)) > max(abs(a), abs(d)):
        return Orientation(True, flip_x=c < 0, flip_y=b < 0)
    return Orientation(False, flip_x=a < 0, flip_y=d < 0)
