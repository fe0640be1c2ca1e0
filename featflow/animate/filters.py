"""Smoothing over time: the One-Euro filter."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featflow.errors import OptionError

Floats = NDArray[np.float64]


class OneEuro:
    """Smooths values that arrive at any times: calm values much, fast ones little.

    Casiez, Roussel and Vogel 2012 (CHI, "1 EUR filter").

    Args:
        min_cutoff_hz: cut-off of a value at rest; lower is calmer. One number or one a value.
        beta: how much the cut-off rises with speed (values per second).
        speed_cutoff_hz: cut-off of the speed estimate.
    """

    def __init__(
        self,
        min_cutoff_hz: ArrayLike = 1.0,
        beta: ArrayLike = 0.3,
        speed_cutoff_hz: float = 1.0,
    ) -> None:
        self._min_cutoff = np.asarray(min_cutoff_hz, np.float64)
        self._beta = np.asarray(beta, np.float64)
        self._speed_cutoff = float(speed_cutoff_hz)
        if (self._min_cutoff <= 0).any() or (self._beta < 0).any() or self._speed_cutoff <= 0:
            raise OptionError("One-Euro cut-offs must be above 0 and beta at least 0")
        self.reset()

    def reset(self) -> None:
        """Forget what came before."""
        self._time_s: float | None = None
        self._value: Floats = np.zeros(0)
        self._speed: Floats = np.zeros(0)

    def __call__(self, values: NDArray[np.floating[Any]], time_s: float) -> Floats:
        """Smoothed value at a time; a value of NaN keeps the last one.

        Args:
            values: (D,).
            time_s: seconds, not before the last call.
        """
        value: Floats = np.array(values, np.float64)
        if self._time_s is None or self._value.shape != value.shape:
            self._time_s, self._value, self._speed = time_s, value.copy(), np.zeros_like(value)
            return self._value.copy()
        elapsed = time_s - self._time_s
        if not np.isfinite(elapsed) or elapsed < 0:
            raise OptionError(f"time runs backwards: {self._time_s} then {time_s} seconds")
        if elapsed == 0:
            return self._value.copy()
        held = np.where(np.isfinite(value), value, self._value)
        speed = (held - self._value) / elapsed
        self._speed += _share(self._speed_cutoff, elapsed) * (speed - self._speed)
        cutoff = self._min_cutoff + self._beta * np.abs(self._speed)
        change = _share(cutoff, elapsed) * (held - self._value)
        # A start without a value has nothing to smooth towards.
        self._value = np.where(np.isfinite(self._value), self._value + change, value)
        self._speed = np.where(np.isfinite(self._speed), self._speed, 0.0)
        self._time_s = time_s
        return self._value.copy()


def _share(cutoff_hz: float | Floats, elapsed_s: float) -> Floats:
    rate = 2 * np.pi * np.asarray(cutoff_hz, np.float64) * elapsed_s
    return np.asarray(rate / (rate + 1), np.float64)


def smooth(
    values: NDArray[np.floating[Any]], times_s: NDArray[np.floating[Any]], **options: Any
) -> Floats:
    """One-Euro over the rows of (T, D) values at (T,) seconds."""
    one_euro = OneEuro(**options)
    return np.array([one_euro(row, float(t)) for row, t in zip(values, times_s, strict=True)])
