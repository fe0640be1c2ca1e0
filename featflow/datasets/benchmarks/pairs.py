"""One person or two: LFW and its harder successors CALFW and CPLFW."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featflow.datasets.benchmarks.files import first_folder, lines_of, numbers_of, present
from featflow.datasets.benchmarks.sets import PairSet
from featflow.errors import InputError

FOLDS = 10


def lfw(root: Path) -> PairSet:
    """LFW, view 2: ten folds of pairs of one person and as many of two.

    ``pairs.txt`` starts with the numbers of folds and of pairs of each sort in a fold; its rows
    are ``name i j`` or ``name i other j``. The pictures are ``lfw/Name/Name_0001.jpg``, where
    ``lfw`` may be ``lfw-deepfunneled`` or ``lfw_funneled``.
    """
    path = root / "pairs.txt"
    lines = [line.split() for line in lines_of(path)]
    folds, each = (int(n) for n in numbers_of(path, lines[0], 2))
    rows = lines[1:]
    if len(rows) != folds * each * 2 or any(len(row) not in (3, 4) for row in rows):
        raise InputError(
            str(path),
            f"expected {folds} folds of {each} pairs of one person, 'name i j', and {each} of two, "
            f"'name i other j'; got {len(rows)} rows",
        )
    folder = first_folder(root, "lfw", "lfw-deepfunneled", "lfw_funneled")
    named = [(row[0], row[1], row[2 if len(row) == 4 else 0], row[-1]) for row in rows]
    one = [_lfw_picture(path, folder, a, i) for a, i, _, _ in named]
    other = [_lfw_picture(path, folder, b, j) for _, _, b, j in named]
    same = np.array([len(row) == 3 for row in rows], bool)
    return _pairs(one, other, same, np.arange(len(rows)) // (2 * each))


def _lfw_picture(path: Path, folder: Path, name: str, number: str) -> Path:
    return folder / name / f"{name}_{int(numbers_of(path, [number])[0]):04d}.jpg"


def calfw(root: Path) -> PairSet:
    """CALFW: pairs of one person at ages far apart. Files as in :func:`cplfw`."""
    return _two_lines_a_pair(root, "pairs_CALFW.txt")


def cplfw(root: Path) -> PairSet:
    """CPLFW: pairs in poses far apart.

    Each pair takes two rows ``picture.jpg tag`` of ``pairs_CPLFW.txt``, with tag 0 for two people
    and above 0 for one. The pictures are in ``images&landmarks/.../images``, ``images`` or
    ``aligned images``; the first is taken, because detectors want more than a tight crop.
    Folds are runs of a tenth of the pairs of each sort, in the order of the file.
    """
    return _two_lines_a_pair(root, "pairs_CPLFW.txt")


def _two_lines_a_pair(root: Path, name: str) -> PairSet:
    path = root / name
    rows = [line.rsplit(maxsplit=1) for line in lines_of(path)]
    if len(rows) % 2 or any(len(row) != 2 for row in rows):
        raise InputError(str(path), "expected two rows 'picture.jpg tag' for each pair")
    uneven = [i for i in range(0, len(rows), 2) if rows[i][1] != rows[i + 1][1]]
    if uneven:
        raise InputError(str(path), f"the rows of a pair have unlike tags: {rows[uneven[0]]}")
    folder = first_folder(
        root,
        "images&landmarks/images&landmarks/images",
        "images&landmarks/images",
        "images",
        "aligned images",
    )
    one, other = ([folder / row[0] for row in rows[start::2]] for start in (0, 1))
    same = np.array(numbers_of(path, [row[1] for row in rows[::2]])) > 0
    folds = np.zeros(len(same), np.int64)
    for sort in (same, ~same):
        folds[sort] = np.arange(sort.sum()) * FOLDS // max(1, int(sort.sum()))
    return _pairs(one, other, same, folds)


def _pairs(
    one: list[Path], other: list[Path], same: NDArray[np.bool_], folds: NDArray[np.int64]
) -> PairSet:
    inputs = tuple(dict.fromkeys(present([*one, *other])))
    row = {path: i for i, path in enumerate(inputs)}
    first, second = (np.array([row[p] for p in side], np.int64) for side in (one, other))
    return PairSet(inputs, first, second, same, folds.astype(np.int64))
