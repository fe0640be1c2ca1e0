"""What a source yields: one decoded frame, or the reason why there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.errors import ArrayError, FeatflowError

EMPTY_IMAGE: NDArray[np.uint8] = np.zeros((0, 0, 3), np.uint8)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a photo, clip or array.

    Attributes:
        image: (h, w, 3) uint8 RGB, working pixels; (0, 0, 3) where decoding failed.
        source: path of the file, or the name given to an input in memory.
        index: position in the source, counted from 0 in decoded frames.
        time_s: presentation time in seconds from the start of the clip; NaN for stills.
        size_px: (height, width) of the original, after EXIF or display rotation.
        scale: working pixels per original pixel (below 1 where ``output_size`` shrank it).
        error: why there is no picture; None for a decoded frame.
        cut: (2, 3) from original pixels to those of ``image``, where it shows only a part of the
            original, as an aligned face does; ``scale`` then says nothing. None for a whole frame.

    Raises:
        ArrayError: ``cut`` is not six finite numbers.
    """

    image: NDArray[np.uint8]
    source: str
    index: int = 0
    time_s: float = math.nan
    size_px: tuple[int, int] = (0, 0)
    scale: float = 1.0
    error: FeatflowError | None = field(default=None)
    cut: NDArray[np.floating[Any]] | None = field(default=None)

    def __post_init__(self) -> None:
        if self.cut is not None and (self.cut.shape != (2, 3) or not np.isfinite(self.cut).all()):
            told = f"its cut has shape {self.cut.shape}, or values that are not finite"
            raise ArrayError(self.source, told, "a map has shape (2, 3)")

    @property
    def nbytes(self) -> int:
        """Bytes that the picture occupies."""
        return int(self.image.nbytes)

    @classmethod
    def failed(cls, source: str, error: FeatflowError, index: int = 0) -> Frame:
        """A frame that stands for an input that could not be read."""
        return cls(EMPTY_IMAGE, source, index, error=error)
