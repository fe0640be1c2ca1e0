"""Rounding poses, so that poses that nobody can tell apart share one cache entry."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.animate.pose import GROUPS, HIGH, INDEX, LOW, POSE_NAMES, Pose
from featflow.errors import OptionError

_FINEST = 1000.0
_BASE = 200.0

_LEVELS: tuple[dict[str, float], ...] = (
    {
        "eye_wink": 50,
        "eye_happy_wink": 50,
        "eye_surprised": 30,
        "iris_rotation": 25,
        "eye_raised_lower_eyelid": 10,
        "mouth_lowered_corner": 5,
        "mouth_raised_corner": 5,
    },
    {"head": 100},
    {"iris_rotation": 20, "eye_wink": 32, "eye_happy_wink": 32},
    {"head": 50, "neck": 100, "iris_rotation": 10, "eye_wink": 24, "eye_happy_wink": 24},
)
"""Steps per unit that each level of EasyVtuber's "simplify" sets, beside 200 for the rest. Its
merging of left with right and of vowels is left out: it changes what the pose means."""

MAX_LEVEL = 8


class PoseQuantizer:
    """Rounds each parameter to multiples of its own step.

    Args:
        steps: (45,) positive step of each parameter, at least 1/16000.

    Rounding twice is rounding once; the codes are whole numbers, so they know no minus zero.
    """

    def __init__(self, steps: NDArray[np.floating[Any]]) -> None:
        values = np.array(steps, np.float64)
        if values.shape != (45,) or not np.isfinite(values).all() or (values < 1 / 16000).any():
            raise OptionError("a quantizer needs 45 finite steps of at least 1/16000")
        self.steps = values
        self.steps.setflags(write=False)

    @classmethod
    def from_level(cls, level: int) -> PoseQuantizer:
        """Steps of a level from 0 (1/1000 each, invisible) to 8 (coarse)."""
        if not isinstance(level, int) or not 0 <= level <= MAX_LEVEL:
            raise OptionError(f"the level must be a whole number 0..{MAX_LEVEL}, got {level!r}")
        if level == 0:
            return cls(np.full(45, 1 / _FINEST))
        per_unit = np.full(45, _BASE)
        for settings in _LEVELS[:level]:
            for stem, count in settings.items():
                per_unit[[i for n, i in INDEX.items() if n.startswith(stem)]] = count
        coarser = 0.8 ** max(0, level - 4)
        return cls(1 / np.maximum(per_unit * coarser, 5))

    @classmethod
    def from_bound(
        cls, displacement_px: NDArray[np.floating[Any]], overlap: int, max_px: float
    ) -> PoseQuantizer:
        """Steps that keep every pixel within ``max_px`` of where the exact pose moves it.

        Args:
            displacement_px: (45,) largest shift of any pixel per unit of each parameter.
            overlap: largest number of parameters that move one pixel.
            max_px: bound in pixels, above 0.
        """
        if not max_px > 0:
            raise OptionError(f"max_px must be above 0, got {max_px}")
        shifts = np.maximum(np.asarray(displacement_px, np.float64), 1e-9)
        steps = 2 * max_px / (max(overlap, 1) * shifts)
        return cls(np.clip(steps, 1 / 16000, 1.0))

    def codes(self, pose: NDArray[np.floating[Any]]) -> NDArray[np.int16]:
        """Whole steps of poses (..., 45) that lie within the ranges."""
        return np.rint(np.asarray(pose, np.float64) / self.steps).astype(np.int16)

    def values(self, codes: NDArray[np.int16]) -> Pose:
        """Poses (..., 45) float32 of codes, within the ranges."""
        return np.clip(codes * self.steps, LOW, HIGH).astype(np.float32)

    def __call__(self, pose: NDArray[np.floating[Any]]) -> Pose:
        """Rounded poses (..., 45), within the ranges."""
        return self.values(self.codes(pose))

    def __repr__(self) -> str:
        parts = ", ".join(
            f"{name} {self.steps[rows].min():.4f}..{self.steps[rows].max():.4f}"
            for name, rows in GROUPS.items()
        )
        return f"PoseQuantizer({parts}; {len(POSE_NAMES)} steps)"
