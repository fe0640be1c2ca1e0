"""Larger frames, alpha included."""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from featflow.animate.sampling import premultiply, unpremultiply
from featflow.errors import OptionError

Image = NDArray[np.uint8]


class Upscaler(Protocol):
    """Enlarges a frame; a learned model fits in here.

    Attributes:
        name: what ``core.info["upscaling"]`` shows.
        scale: 2 or 4.
    """

    name: str
    scale: int

    def upscale(self, frame: Image, out: Image) -> None:
        """Write ``frame`` (H, W, 4) BGRA enlarged into ``out`` (H * scale, W * scale, 4)."""


class LanczosUpscaler:
    """Lanczos for premultiplied colour, linear for alpha, which thus never overshoots.

    Args:
        scale: 2 or 4.
    """

    name = "lanczos"

    def __init__(self, scale: int = 2) -> None:
        if isinstance(scale, bool) or scale not in (2, 4):
            raise OptionError(f"an upscaler enlarges 2 or 4 times, got {scale!r}")
        self.scale = int(scale)

    def upscale(self, frame: Image, out: Image) -> None:
        """Write the enlarged frame into ``out``."""
        size = (out.shape[1], out.shape[0])
        flat = premultiply(frame)
        large = np.array(cv2.resize(flat, size, interpolation=cv2.INTER_LANCZOS4), np.float32)
        alpha = np.asarray(cv2.resize(flat[..., 3], size, interpolation=cv2.INTER_LINEAR))
        large[..., 3] = alpha
        np.clip(large[..., :3], 0, alpha[..., None], out=large[..., :3])
        out[...] = unpremultiply(large)
