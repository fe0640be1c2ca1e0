"""The working size: how far ``output_size`` shrinks a picture, and doing it to an array."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_TOLERANCE, _TOLERANCE_PX = 0.02, 8


def working_size(size_px: tuple[int, int], output_size: int | None) -> tuple[int, int]:
    """(height, width) that a picture is shrunk to; never larger than it is.

    A frame has one scale for both axes, but sizes are whole: a shorter side of 280.6 pixels
    would put points up to half a pixel off. Of the sizes within 2 % or 8 pixels below the bound,
    the one whose shorter side comes nearest to a whole number is taken, and of equals the
    largest. What remains is mostly below a tenth of a pixel.

    Args:
        size_px: (height, width) of the original.
        output_size: upper bound of the longer side; None leaves the picture alone.
    """
    height, width = size_px
    longer, shorter = max(size_px), min(size_px)
    if output_size is None or longer <= output_size:
        return size_px
    span = max(_TOLERANCE_PX, int(output_size * _TOLERANCE))
    candidates = np.arange(output_size, max(1, output_size - span) - 1, -1)
    exact = shorter * candidates / longer
    misses = np.abs(exact - np.round(exact)) + (np.round(exact) < 1)
    best = int(np.argmin(np.round(misses, 9)))
    long_side, short_side = int(candidates[best]), max(1, round(float(exact[best])))
    return (short_side, long_side) if width >= height else (long_side, short_side)


def scale_between(size_px: tuple[int, int], working_px: tuple[int, int]) -> float:
    """Working pixels per original pixel, along the longer side."""
    return max(working_px) / max(size_px)


def shrink(image: NDArray[np.uint8], working_px: tuple[int, int]) -> NDArray[np.uint8]:
    """Average a picture down to (height, width); the whole picture becomes the whole result."""
    if image.shape[:2] == working_px:
        return image
    small = cv2.resize(image, working_px[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)
