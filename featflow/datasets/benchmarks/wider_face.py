"""Every face in a box: WIDER FACE."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.datasets.benchmarks.files import (
    first_folder,
    lines_of,
    matlab_of,
    matlab_text,
    numbers_of,
    present,
)
from featflow.datasets.benchmarks.sets import BoxSet
from featflow.errors import InputError

LEVELS = ("easy", "medium", "hard")
_INVALID = 7
"""Column of a face that the authors call invalid."""

Rows = NDArray[np.bool_]


def wider_face(root: Path) -> BoxSet:
    """The validation part of WIDER FACE.

    With ``wider_easy_val.mat``, ``wider_medium_val.mat`` and ``wider_hard_val.mat`` of the
    authors' evaluation tools, in ``eval_tools/ground_truth``, ``ground_truth`` or ``root``, the
    faces count that count there. Without them the one subset is ``valid``: all faces of
    ``wider_face_split/wider_face_val_bbx_gt.txt`` that are not called invalid. The pictures are
    in ``WIDER_val/images``.
    """
    truth = first_folder(root, "eval_tools/ground_truth", "ground_truth")
    if all((truth / f"wider_{level}_val.mat").is_file() for level in LEVELS):
        return _from_matlab(root, truth)
    return _from_text(root)


def _from_text(root: Path) -> BoxSet:
    path = root / "wider_face_split" / "wider_face_val_bbx_gt.txt"
    lines, at = lines_of(path), 0
    pictures, boxes, valid = [], [], []
    while at < len(lines):
        name, count = lines[at], int(numbers_of(path, lines[at + 1 : at + 2], 1)[0])
        # A picture without a face has one row of zeros.
        rows = lines[at + 2 : at + 2 + max(1, count)]
        if len(rows) != max(1, count):
            raise InputError(str(path), f"ends within the faces of {name}")
        table = np.array([numbers_of(path, row.split(), 10) for row in rows])[:count]
        pictures.append(root / "WIDER_val" / "images" / name)
        boxes.append(_corners(table[:, :4]))
        valid.append((table[:, _INVALID] == 0) & (table[:, 2:4] > 0).all(1))
        at += 2 + max(1, count)
    return BoxSet(tuple(present(pictures)), tuple(boxes), {"valid": tuple(valid)})


def _corners(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:4]], 1)


def _from_matlab(root: Path, truth: Path) -> BoxSet:
    names = ("event_list", "file_list", "face_bbx_list", "gt_list")
    levels = {name: matlab_of(truth / f"wider_{name}_val.mat", *names) for name in LEVELS}
    events, files, faces = levels["easy"][:3]
    pictures, boxes = [], []
    counts: dict[str, list[Rows]] = {level: [] for level in LEVELS}
    for i, event in enumerate(np.ravel(events)):
        for j, file in enumerate(_cell(files, i)):
            pictures.append(_picture(root, matlab_text(event), matlab_text(file)))
            boxes.append(_corners(np.asarray(_cell(faces, i)[j], np.float64).reshape(-1, 4)))
            for level in LEVELS:
                chosen = np.zeros(len(boxes[-1]), bool)
                # Matlab counts from 1.
                chosen[np.asarray(_cell(levels[level][3], i)[j], np.int64).ravel() - 1] = True
                counts[level].append(chosen)
    subsets = {level: tuple(rows) for level, rows in counts.items()}
    return BoxSet(tuple(present(pictures)), tuple(boxes), subsets)


def _cell(cells: Any, index: int) -> NDArray[Any]:
    """The cells of one event."""
    return np.ravel(np.ravel(cells)[index])


def _picture(root: Path, event: str, name: str) -> Path:
    return root / "WIDER_val" / "images" / event / f"{name}.jpg"
