"""Reading a still at warped positions without mixing in the colour of invisible pixels."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Map = NDArray[np.float32]


_remap: Any = cv2.remap  # its stubs do not know that a single two-channel map is allowed


def read_at(
    pixels: NDArray[Any], positions: Map, border: int = cv2.BORDER_REPLICATE
) -> NDArray[Any]:
    """Bilinear reading of (H, W, C) at positions (h, w, 2): x and y from pixel centres."""
    return np.asarray(_remap(pixels, positions, None, cv2.INTER_LINEAR, borderMode=border))


def is_opaque(image: Image) -> bool:
    """Whether no pixel of (H, W, 4) lets anything through."""
    return bool((image[..., 3] == 255).all())


def premultiply(image: Image) -> NDArray[np.float32]:
    """Colour times alpha, 0..255, and alpha 0..255, as float32 (H, W, 4)."""
    result = image.astype(np.float32)
    if not is_opaque(image):
        result[..., :3] *= result[..., 3:] * np.float32(1 / 255)
    return result


def unpremultiply(image: NDArray[np.floating[Any]]) -> Image:
    """Inverse of :func:`premultiply`, rounded; black where alpha rounds to 0."""
    alpha = image[..., 3:]
    if float(alpha.min(initial=255)) >= 254.999:
        return np.asarray(cv2.convertScaleAbs(np.maximum(image, 0)), np.uint8)
    seen = alpha >= 0.5
    colour = image[..., :3] * (255 / np.maximum(alpha, 0.5)) * seen
    straight = np.concatenate([colour, alpha], -1)
    return np.asarray(np.clip(np.rint(straight), 0, 255), np.uint8)


class Sampler:
    """Bilinear reading of one still; exact at whole pixels, edges repeated beyond the frame.

    Args:
        image: (H, W, 4) uint8 BGRA, straight alpha.
    """

    def __init__(self, image: Image) -> None:
        self._opaque = is_opaque(image)
        self._pixels: NDArray[Any] = image if self._opaque else premultiply(image)

    def __call__(self, positions: Map) -> Image:
        """Read at positions (h, w, 2): x and y, counted from pixel centres."""
        read = read_at(self._pixels, positions)
        return np.asarray(read, np.uint8) if self._opaque else unpremultiply(read)
