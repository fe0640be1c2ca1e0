"""Embeddings as unit vectors, and which of them can be used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from featflow.errors import AbsentGroupError, OptionError, SchemaError
from featflow.fex.schema import IDENTITY_EMBEDDING

Floats = NDArray[np.floating[Any]]

DEFAULT_THRESHOLD = 0.5
"""Cosine similarity that hardly any two faces of different people reach. Measured with the
embeddings of one network (MobileFace V2) on 505 people: about 1 pair of people in 20,000 gets
there, and 7 of 10 pairs of one person. Another embedding has another good value."""

ROUNDING = 1e-6
"""How far a cosine of float32 vectors may fall short of a threshold and still reach it."""

_CHUNK = 1 << 22


def unit_rows(embeddings: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Embeddings scaled to length 1, without those that point nowhere.

    Args:
        embeddings: (N, D) numbers; a row with a non-finite number or of length 0 is unusable.

    Returns:
        (M, D) float32 unit vectors of the usable rows in order, and (N,) which rows they are.

    Raises:
        OptionError: the array is not (N, D) with D at least 1, or holds no numbers.
    """
    array = np.asarray(embeddings)
    if array.ndim != 2 or array.shape[1] == 0 or array.dtype.kind not in "fiu":
        raise OptionError(
            f"embeddings must be numbers of shape (faces, size), got {array.dtype} {array.shape}"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        peak = np.abs(array).max(1, initial=0).astype(np.float64)
    usable = np.isfinite(peak) & (peak > 0)
    rows = array if usable.all() else array[usable]
    return _scaled(rows, peak[usable]), usable


def _scaled(rows: NDArray[Any], peak: NDArray[np.float64]) -> NDArray[np.float32]:
    """Rows of length 1; in pieces, so that no second full copy is made."""
    unit = np.empty(rows.shape, np.float32)
    step = max(1, _CHUNK // rows.shape[1])
    for start in range(0, len(rows), step):
        # Dividing by the largest number first keeps huge and tiny rows from over- or underflow.
        piece = rows[start : start + step] / peak[start : start + step, None]
        unit[start : start + step] = piece / np.linalg.norm(piece, axis=1, keepdims=True)
    return unit


def embeddings_of(table: pd.DataFrame) -> Floats:
    """The identity vectors of a table of faces, (N, D) float32, NaN where there is none.

    Raises:
        AbsentGroupError: the table has no ``Identity_1``, ``Identity_2``, ...
        SchemaError: those columns do not hold numbers.
    """
    names = IDENTITY_EMBEDDING.present(table.columns)
    if not names:
        raise AbsentGroupError(
            "this table has no identity vectors (Identity_1..Identity_D): "
            "the detector ran without a node in its 'identity' slot"
        )
    try:
        return np.asarray(table[names].to_numpy(np.float32))
    except (TypeError, ValueError) as error:
        raise SchemaError(f"columns Identity_1..{names[-1]} must hold numbers: {error}") from error


def check_threshold(threshold: float, low: float = -1.0) -> float:
    """A cosine similarity to reach, as a plain float.

    Raises:
        OptionError: it does not lie in ``low``..1.
    """
    if not low <= threshold <= 1.0:
        raise OptionError(f"threshold is a cosine similarity in {low:g}..1, got {threshold}")
    return float(threshold)


def centre_sums(unit: Floats, labels: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Sum of the vectors of each label 0..count-1, (count, D); other labels are left out."""
    known = (labels >= 0) & (labels < count)
    codes = np.where(known, labels, count)
    sums = [np.bincount(codes, weights=column, minlength=count + 1)[:count] for column in unit.T]
    return np.stack(sums, 1) if sums else np.zeros((count, 0))


def nearest(unit: Floats, centres: Floats) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each vector the centre of the largest cosine (the first of equals), and that cosine.

    Args:
        unit: (N, D) unit vectors.
        centres: (K, D) unit vectors, at least one.
    """
    centres = np.asarray(centres, np.float32)
    index = np.empty(len(unit), np.int64)
    cosine = np.empty(len(unit), np.float32)
    step = max(1, _CHUNK // len(centres))
    for start in range(0, len(unit), step):
        table = unit[start : start + step] @ centres.T
        best = table.argmax(1)
        index[start : start + step] = best
        cosine[start : start + step] = np.take_along_axis(table, best[:, None], 1)[:, 0]
    return index, cosine
