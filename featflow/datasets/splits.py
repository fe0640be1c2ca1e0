"""Splitting a table so that no person, clip or stretch of time stands on both sides."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featflow.errors import OptionError, SchemaError
from featflow.fex.table import Fex
from featflow.identity.labels import UNKNOWN

log = logging.getLogger("featflow")

By = Literal["identity", "input", "time"]

_COLUMN = {"identity": "Identity", "input": "input", "time": "time"}


def split_by(
    fex: pd.DataFrame,
    by: By,
    parts: Sequence[float] = (0.8, 0.2),
    *,
    seed: int = 0,
    gap: float = 0.0,
) -> tuple[Fex, ...]:
    """Split the rows of a table.

    Args:
        fex: the table.
        by: ``identity`` keeps each person on one side and leaves out rows whose person is
            missing or unknown; ``input`` keeps each photo or clip on one side; ``time`` cuts
            every clip into consecutive stretches.
        parts: shares of the rows, positive; they are scaled to sum to 1. Whole persons and
            clips meet them as nearly as they can.
        seed: which persons or clips go where.
        gap: for ``time``: seconds around each cut that are left out, because neighbouring
            frames are almost the same picture.

    Returns:
        One table a part, rows in the order of ``fex``; none is empty.

    Raises:
        OptionError: an option cannot be used.
        SchemaError: the column is missing, or there are fewer persons or clips than parts.
    """
    shares = np.asarray(parts, float)
    if by not in get_args(By):
        raise OptionError(f"by must be one of {', '.join(get_args(By))}, got {by!r}")
    if len(shares) < 2 or not (shares > 0).all() or not gap >= 0:
        raise OptionError(f"parts must be two or more positive shares, gap >= 0; got {parts}")
    if _COLUMN[by] not in fex.columns:
        raise SchemaError(f"cannot split by {by}: the table has no column {_COLUMN[by]!r}")
    shares = shares / shares.sum()
    side = _by_time(fex, shares, gap) if by == "time" else _by_group(fex[_COLUMN[by]], shares, seed)
    empty = [number for number in range(len(shares)) if not (side == number).any()]
    if empty:
        raise SchemaError(f"split by {by}: part {empty[0]} of {len(shares)} gets no row")
    table = fex if isinstance(fex, Fex) else Fex(fex)
    return tuple(table.iloc[np.flatnonzero(side == n)] for n in range(len(shares)))


def _by_group(groups: pd.Series[Any], shares: NDArray[np.float64], seed: int) -> NDArray[np.int64]:
    """Part of each row, -1 for rows of nobody; the largest groups are placed first."""
    known = (groups.notna() & ~groups.isin([UNKNOWN, ""])).to_numpy()
    if not known.all():
        log.info("%d rows of no known %s are left out of all parts", (~known).sum(), groups.name)
    names, number, counts = np.unique(
        groups[known].astype(str), return_inverse=True, return_counts=True
    )
    if len(names) < len(shares):
        raise SchemaError(
            f"{len(names)} different values of {groups.name} cannot be split into {len(shares)} "
            "parts"
        )
    part_of = np.empty(len(names), np.int64)
    filled = np.zeros(len(shares))
    order = np.random.default_rng(seed).permutation(len(names))
    for place, name in enumerate(order[np.argsort(-counts[order], kind="stable")]):
        # A part without any group comes first when there are only enough groups left for those.
        empty = filled == 0
        must = empty if len(names) - place <= empty.sum() else np.ones(len(shares), bool)
        lack = np.where(must, shares * counts.sum() - filled, -np.inf)
        part_of[name] = lack.argmax()
        filled[part_of[name]] += counts[name]
    side = np.full(len(groups), -1)
    side[known] = part_of[number]
    return side


def _by_time(fex: pd.DataFrame, shares: NDArray[np.float64], gap: float) -> NDArray[np.int64]:
    side = np.full(len(fex), -1)
    for source, rows in fex.groupby("input", sort=False).indices.items():
        times = fex["time"].to_numpy(float)[rows]
        if not np.isfinite(times).all():
            raise SchemaError(f"{source} has no times: split photos by 'input' or 'identity'")
        cuts = times.min() + np.cumsum(shares)[:-1] * (times.max() - times.min())
        near = (np.abs(times[:, None] - cuts) < gap / 2).any(1)
        side[rows] = np.where(near, -1, (times[:, None] >= cuts).sum(1))
    return side
