"""Fitting a picture into a fixed size with padding, and back again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from featflow.errors import OptionError

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a picture was scaled and padded, so that points and boxes can be carried back.

    The picture becomes whole pixels large, so its two scales differ by a rounding; both are
    kept, and both directions are exact.

    Attributes:
        scale: output pixels per source pixel, (x, y).
        offset: output pixels left of and above the picture, (x, y).
        inner: (height, width) of the picture in the output.
        size: (height, width) of the output.
    """

    scale: tuple[float, float]
    offset: tuple[int, int]
    inner: tuple[int, int]
    size: tuple[int, int]

    @classmethod
    def fit(
        cls,
        source: tuple[int, int],
        size: tuple[int, int],
        *,
        centred: bool = True,
        grow: bool = True,
    ) -> Letterbox:
        """Plan the largest undistorted placement of a picture.

        Args:
            source: (height, width) of the picture.
            size: (height, width) to fill.
            centred: padding on both sides; False puts the picture in the top-left corner.
            grow: False leaves a picture that is smaller than ``size`` at its own size.

        Raises:
            OptionError: a side is below 1 pixel.
        """
        if min(*source, *size) < 1:
            raise OptionError(f"cannot fit a {source} picture into {size}: sides must be >= 1")
        factor = min(size[0] / source[0], size[1] / source[1])
        factor = factor if grow else min(factor, 1.0)
        inner = tuple(
            min(max(round(side * factor), 1), most) for side, most in zip(source, size, strict=True)
        )
        spare = (size[1] - inner[1], size[0] - inner[0])
        offset = (spare[0] // 2, spare[1] // 2) if centred else (0, 0)
        scale = (inner[1] / source[1], inner[0] / source[0])
        return cls(scale, offset, (inner[0], inner[1]), size)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Map from source pixels to output pixels, (2, 3)."""
        return np.array(
            [[self.scale[0], 0.0, self.offset[0]], [0.0, self.scale[1], self.offset[1]]]
        )

    def image(self, image: NDArray[np.uint8], fill: int = 0) -> NDArray[np.uint8]:
        """Scale and pad a picture (H, W) or (H, W, C) uint8; averaged where it shrinks."""
        inner_height, inner_width = self.inner
        shrinks = min(self.scale) < 1
        if self.inner != image.shape[:2]:
            method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            scaled = cv2.resize(image, (inner_width, inner_height), interpolation=method)
            image = np.asarray(scaled, np.uint8)
        result = np.full((*self.size, *image.shape[2:]), fill, np.uint8)
        left, top = self.offset
        result[top : top + inner_height, left : left + inner_width] = image
        return result

    def points_in(self, points: Floats) -> NDArray[np.float64]:
        """Carry points (..., 2) from source pixels to output pixels."""
        return np.asarray(points, np.float64) * self.scale + self.offset

    def points_out(self, points: Floats) -> NDArray[np.float64]:
        """Carry points (..., 2) from output pixels back to source pixels."""
        return (np.asarray(points, np.float64) - self.offset) / self.scale

    def boxes_in(self, boxes: Floats) -> NDArray[np.float64]:
        """Carry boxes (..., 4) from source pixels to output pixels."""
        corners = np.asarray(boxes, np.float64)
        return self.points_in(corners.reshape(*corners.shape[:-1], 2, 2)).reshape(corners.shape)

    def boxes_out(self, boxes: Floats) -> NDArray[np.float64]:
        """Carry boxes (..., 4) from output pixels back to source pixels."""
        corners = np.asarray(boxes, np.float64)
        return self.points_out(corners.reshape(*corners.shape[:-1], 2, 2)).reshape(corners.shape)
