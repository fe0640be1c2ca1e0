"""Pairs of photographs: of one person, and as many of different people."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featflow.errors import OptionError

Rows = NDArray[np.int64]


def draw_pairs(
    names: ArrayLike, most: int | None = None, seed: int = 0
) -> tuple[Rows, Rows, NDArray[np.bool_]]:
    """Pairs to verify, half of them of one person, in random order.

    Args:
        names: (N,) who is on each photograph; an empty name is nobody and in no pair.
        most: pairs of one person at most, so that people with many photographs do not decide
            alone; None takes all.
        seed: of the choice.

    Returns:
        (P,) rows, (P,) rows, and (P,) whether they are of one person. No pair comes twice.

    Raises:
        OptionError: no person has two photographs, or too few pairs of different people exist.
    """
    who = np.asarray(names).astype(str)
    rng = np.random.default_rng(seed)
    same = _of_one_person(who, most, rng)
    if not len(same):
        raise OptionError("no person has two photographs, so there is no pair of one person")
    both = np.concatenate([same, _of_two_people(who, len(same), rng)])
    order = rng.permutation(len(both))
    one, two = both[order].T
    return one, two, order < len(same)


def _of_one_person(who: NDArray[np.str_], most: int | None, rng: np.random.Generator) -> Rows:
    found = [np.zeros((0, 2), np.int64)]
    for name in np.unique(who[who != ""]):
        rows = np.flatnonzero(who == name)
        pairs = np.stack(np.triu_indices(len(rows), 1), 1)
        found.append(rows[rng.permutation(pairs)[:most]])
    return np.concatenate(found)


def _of_two_people(who: NDArray[np.str_], count: int, rng: np.random.Generator) -> Rows:
    named = np.flatnonzero(who != "")
    sizes = np.unique(who[named], return_counts=True)[1]
    if (len(named) ** 2 - (sizes**2).sum()) // 2 < count:
        raise OptionError(f"there are fewer than {count} pairs of different people")
    found = np.zeros((0, 2), np.int64)
    while len(found) < count:
        drawn = np.sort(rng.choice(named, (count, 2)), axis=1)
        drawn = drawn[who[drawn[:, 0]] != who[drawn[:, 1]]]
        together = np.concatenate([found, drawn])
        first = np.unique(together, axis=0, return_index=True)[1]
        found = together[np.sort(first)]
    return found[:count]
