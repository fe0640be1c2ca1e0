"""The order in which faces appeared, whatever the order of the rows."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Rows = NDArray[np.int64]

_KEYS = ("time", "frame", "FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight")


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sorts names as people do: ``clip2`` before ``clip10``."""
    parts = re.split(r"([0-9]+)", name)
    return [(0, int(p), p) if p.isdecimal() else (1, 0, p) for p in parts if p]


def input_codes(table: pd.DataFrame) -> NDArray[np.int64]:
    """Number of each row's input, inputs in natural order; all 0 without that column."""
    if "input" not in table.columns:
        return np.zeros(len(table), np.int64)
    codes, found = pd.factorize(table["input"].fillna("").astype(str))
    names = [str(name) for name in found]
    rank = np.empty(len(names), np.int64)
    rank[sorted(range(len(names)), key=lambda i: natural_key(names[i]))] = np.arange(len(names))
    return rank[codes]


def appearance_order(table: pd.DataFrame, embeddings: NDArray[Any] | None = None) -> Rows:
    """Rows in order of appearance: by input, time, frame, and from left to right in a frame.

    Inputs stand in the natural order of their names. Rows that are alike in all of that are
    ordered by their embeddings, so that the order does not depend on that of the rows.

    Returns:
        (N,) row positions.
    """
    keys: list[NDArray[Any]] = [input_codes(table)]
    keys += [table[name].to_numpy(np.float64, na_value=np.nan) for name in _KEYS if name in table]
    order: Rows = np.lexsort(keys[::-1])
    if embeddings is None or len(order) < 2:
        return order
    sorted_keys = np.stack([key[order].astype(np.float64) for key in keys], 1)
    same = np.isclose(sorted_keys[1:], sorted_keys[:-1], rtol=0, atol=0, equal_nan=True).all(1)
    starts = np.flatnonzero(~np.r_[False, same])
    stops = np.r_[starts[1:], len(order)]
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        if stop - start > 1:
            rows = order[start:stop]
            order[start:stop] = rows[np.lexsort(embeddings[rows].T[::-1])]
    return order


def by_appearance(codes: Rows) -> Rows:
    """The same clusters, numbered from 0 by their first faces; below 0 stays -1."""
    known = codes >= 0
    result = np.full(len(codes), -1, np.int64)
    _, first, inverse = np.unique(codes[known], return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    result[known] = rank[inverse]
    return result
