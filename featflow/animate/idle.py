"""Life for a still that nobody drives: blinks and breath, from a clock and a seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featflow.animate.pose import INDEX, Pose
from featflow.errors import OptionError

Floats = NDArray[np.float64]

BLINK_S = 0.25


def breath(time_s: ArrayLike, period_s: float = 4.0) -> Floats:
    """Fullness of the chest, 0..1, ``(1 - cos) / 2``, empty at second 0."""
    if period_s <= 0:
        raise OptionError(f"a breath takes more than {period_s} seconds")
    turn = 2 * np.pi * np.asarray(time_s, np.float64) / period_s
    return np.asarray(0.5 * (1 - np.cos(turn)), np.float64)


class Blinks:
    """Closes the eyes for a quarter of a second, once in every period, at a random moment.

    The answer for a time depends on the seed alone, whatever was asked before.

    Args:
        period_s: mean time between blinks.
        seed: of the moments.
    """

    def __init__(self, period_s: float = 5.0, seed: int = 0) -> None:
        if period_s <= 2 * BLINK_S:
            raise OptionError(f"blinks need a period above {2 * BLINK_S} seconds")
        self._period = float(period_s)
        self._seed = seed

    def starts(self, first: int, count: int) -> Floats:
        """Seconds at which the blinks number ``first``, ``first + 1``, ... begin."""
        room = self._period - 2 * BLINK_S
        numbers = range(first, first + count)
        return np.array(
            [
                n * self._period + room * np.random.default_rng((self._seed, n)).random()
                for n in numbers
            ]
        )

    def __call__(self, time_s: float) -> float:
        """Closure of the lids, 0..1, at a time of 0 or more."""
        number = int(time_s // self._period)
        since = time_s - self.starts(number, 1)[0]
        return float(np.sin(np.pi * since / BLINK_S) ** 2) if 0 <= since < BLINK_S else 0.0


def idle_pose(time_s: float, blinks: Blinks, breath_period_s: float = 4.0) -> Pose:
    """A (1, 45) pose that only blinks and breathes."""
    pose = np.zeros((1, 45), np.float32)
    pose[0, [INDEX["eye_wink_left"], INDEX["eye_wink_right"]]] = blinks(time_s)
    pose[0, INDEX["breathing"]] = breath(time_s, breath_period_s)
    return pose
