"""Smooth fields from values at scattered points: Gaussian radial basis functions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Scatter:
    """Fields that pass near given values at given places and fade to 0 far from all of them.

    Args:
        places: (P, 2).
        width: standard deviation of each Gaussian, in the unit of the places.
        smoothing: 0 passes through every value; more gives way to close, contrary values.
    """

    def __init__(self, places: Floats, width: float, smoothing: float) -> None:
        self._places = places
        self._scale = -0.5 / width**2
        kernel = self.weights(places)
        kernel[np.diag_indices(len(places))] += smoothing
        self._inverse = np.linalg.inv(kernel)

    def weights(self, points: Floats) -> Floats:
        """Influence of each place on points (..., 2), as (..., P)."""
        offset = points[..., None, :] - self._places
        return np.asarray(np.exp(self._scale * (offset * offset).sum(-1)), np.float64)

    def solve(self, values: Floats) -> Floats:
        """Coefficients (P, D) for values (P, D); the field is ``weights @ coefficients``."""
        return np.asarray(self._inverse @ values, np.float64)
