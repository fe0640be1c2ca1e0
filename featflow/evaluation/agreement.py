"""How far two readings of one quantity agree: ICC(3,1), CCC, and F1 for action units."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featflow.errors import OptionError
from featflow.evaluation.checks import alike

Floats = NDArray[np.floating[Any]]

PRESENT_INTENSITY = 2.0
"""FACS intensity (0 to 5; 2 is B) from which an action unit counts as present, as is usual for
DISFA."""
PRESENT_PROBABILITY = 0.5


def icc_3_1(ratings: ArrayLike) -> float:
    """Intraclass correlation ICC(3,1): consistency of single, fixed raters.

    (MSR - MSE) / (MSR + (k - 1) MSE) of the two-way table (Shrout and Fleiss 1979). A constant
    difference between raters does not lower it, a different spread does.

    Args:
        ratings: (N, k) with a row for each target and a column for each of k >= 2 raters;
            rows with a missing rating are left out.

    Returns:
        -1/(k-1)..1; NaN for fewer than two targets, or where nothing varies.
    """
    table = np.asarray(ratings, np.float64)
    if table.ndim != 2 or table.shape[1] < 2:
        raise OptionError(f"ICC needs ratings (targets, raters) of 2 or more, got {table.shape}")
    table = table[np.isfinite(table).all(1)]
    targets, raters = table.shape
    if targets < 2:
        return float("nan")
    of_target = table.mean(1, keepdims=True)
    rest = table - of_target - table.mean(0) + table.mean()
    between = raters * ((of_target - table.mean()) ** 2).sum() / (targets - 1)
    error = (rest**2).sum() / ((targets - 1) * (raters - 1))
    total = between + (raters - 1) * error
    return float((between - error) / total) if total > 0 else float("nan")


def ccc(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Concordance correlation coefficient (Lin 1989), with population moments.

    2 cov / (var + var + (difference of means)^2): correlation that a shift or another scale
    lowers. Pairs with a missing value are left out.

    Returns:
        -1..1; NaN for fewer than two pairs, or where neither side varies and they are equal.
    """
    a, b = alike(truth, predicted)
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    if len(a) < 2:
        return float("nan")
    shared = ((a - a.mean()) * (b - b.mean())).mean()
    total = a.var() + b.var() + (a.mean() - b.mean()) ** 2
    return float(2 * shared / total) if total > 0 else float("nan")


def binary_f1(truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> float:
    """F1 of the positive class; NaN where there is none in truth and none predicted."""
    hits = int((truth & predicted).sum())
    named = int(truth.sum()) + int(predicted.sum())
    return 2 * hits / named if named else float("nan")


def au_f1(
    intensity: ArrayLike,
    predicted: ArrayLike,
    *,
    present_from: float = PRESENT_INTENSITY,
    predicted_from: float = PRESENT_PROBABILITY,
) -> NDArray[np.float64]:
    """F1 of each action unit; both limits are inclusive.

    Args:
        intensity: (N, A) human intensities 0 to 5, or 0 and 1 with ``present_from=1``.
        predicted: (N, A) values 0 to 1. Rows where either is missing are left out, unit by unit.

    Returns:
        (A,) F1; NaN for a unit that is not predicted at all, or neither occurs nor is predicted.
    """
    a, b = _by_unit(intensity, predicted)
    known = np.isfinite(a) & np.isfinite(b)
    return np.array(
        [
            binary_f1(a[rows, unit] >= present_from, b[rows, unit] >= predicted_from)
            for unit, rows in enumerate(known.T)
        ]
    )


def au_icc(
    intensity: ArrayLike, predicted: ArrayLike, *, full_intensity: float = 5.0
) -> NDArray[np.float64]:
    """ICC(3,1) of each action unit.

    Args:
        intensity: (N, A) human intensities, 0 to ``full_intensity``.
        predicted: (N, A) values 0 to 1, brought to the human scale.

    Returns:
        (A,) ICC; NaN for a unit that is not predicted.
    """
    a, b = _by_unit(intensity, predicted)
    return np.array([icc_3_1(pair) for pair in np.stack([a.T, b.T * full_intensity], -1)])


def _by_unit(intensity: ArrayLike, predicted: ArrayLike) -> tuple[Floats, Floats]:
    a, b = alike(intensity, predicted)
    if a.ndim != 2:
        raise OptionError(f"action units need arrays (faces, units), got {a.shape}")
    return a, b
