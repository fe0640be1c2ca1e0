"""Bringing logits to the human labels: one temperature and a small shift a class."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

Floats = NDArray[np.floating[Any]]

SPREAD_OF_SHIFTS = 0.5
"""Standard deviation of the normal prior on the shifts: classes with few labels hardly move."""


def fit_calibration(logits: Floats, labels: NDArray[np.int64]) -> tuple[float, NDArray[np.float64]]:
    """Scale s and shifts b (K,) such that softmax(s * logits + b) fits labels (N,) best.

    Maximum a posteriori: cross entropy of the labels, and a normal prior on the shifts and on the
    logarithm of the scale (Guo et al. 2017, arXiv 1706.04599, with shifts).
    """
    classes = logits.shape[1]
    truth = np.eye(classes)[labels]

    def cost(unknown: Floats) -> tuple[float, Floats]:
        scale, shifts = np.exp(unknown[0]), unknown[1:]
        moved = scale * logits + shifts
        wrong = softmax(moved, 1) - truth
        loss = -(truth * log_softmax(moved, 1)).sum()
        loss += (unknown[0] ** 2 + (shifts**2).sum() / SPREAD_OF_SHIFTS**2) / 2
        slope_scale = (wrong * logits).sum() * scale + unknown[0]
        slope_shifts = wrong.sum(0) + shifts / SPREAD_OF_SHIFTS**2
        return float(loss), np.concatenate([[slope_scale], slope_shifts])

    found = minimize(cost, np.zeros(classes + 1), jac=True, method="L-BFGS-B").x
    return float(np.exp(found[0])), np.asarray(found[1:], np.float64)
