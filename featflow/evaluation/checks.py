"""What every metric asks of its numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featflow.errors import OptionError

Floats = NDArray[np.floating[Any]]


def alike(truth: ArrayLike, predicted: ArrayLike) -> tuple[Floats, Floats]:
    """Two float64 arrays of one shape.

    Raises:
        OptionError: the shapes differ.
    """
    a, b = np.asarray(truth, np.float64), np.asarray(predicted, np.float64)
    if a.shape != b.shape:
        raise OptionError(f"truth {a.shape} and prediction {b.shape} must have one shape")
    return a, b


def finite(values: ArrayLike, what: str) -> NDArray[np.float64]:
    """Numbers, all of them finite.

    Raises:
        OptionError: some are not; leaving them out is the caller's decision, who must say so.
    """
    array = np.asarray(values, np.float64)
    missing = int((~np.isfinite(array)).sum())
    if missing:
        raise OptionError(
            f"{missing} of {array.size} {what} are missing or infinite; "
            "leave those rows out and report how many they are"
        )
    return array
