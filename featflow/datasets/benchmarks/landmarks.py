"""68 points that people placed: 300W."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featflow.datasets.benchmarks.files import MATLAB_PIXEL, lines_of, numbers_of
from featflow.datasets.benchmarks.sets import FaceSet, of_photographs
from featflow.errors import InputError, MissingInputError

FOLDERS = {
    "indoor": ("01_Indoor",),
    "outdoor": ("02_Outdoor",),
    "common": ("helen/testset", "lfpw/testset"),
    "challenging": ("ibug",),
}
"""Parts of the protocol: the test set of the challenge, and the full set of earlier work."""


def three_hundred_w(root: Path) -> FaceSet:
    """300W: faces in the wild with 68 points, in whichever of its folders there are.

    ``01_Indoor/indoor_001.png`` with ``indoor_001.pts`` and ``02_Outdoor`` are the challenge's
    test set; ``helen/testset``, ``lfpw/testset`` and ``ibug`` the full set. Files of points count
    from 1, as Matlab does.
    """
    pictures, points, parts = [], [], []
    for part, folders in FOLDERS.items():
        for folder in folders:
            for path in sorted((root / folder).glob("*.pts")):
                if path.stem.endswith("_mirror"):
                    continue
                pictures.append(_picture_of(path))
                points.append(points_of(path))
                parts.append(part)
    landmarks = np.array(points).reshape(-1, 68, 2)
    boxes = np.concatenate([landmarks.min(1), landmarks.max(1)], 1)
    groups = {p: np.array([q == p for q in parts], bool) for p in FOLDERS if p in parts}
    return of_photographs(pictures, boxes, landmarks=landmarks, groups=groups)


def _picture_of(path: Path) -> Path:
    for suffix in (".png", ".jpg"):
        if path.with_suffix(suffix).is_file():
            return path.with_suffix(suffix)
    raise MissingInputError(str(path.with_suffix(".png")), "is missing, and its points are there")


def points_of(path: Path) -> NDArray[np.float64]:
    """Points (68, 2) of a ``.pts`` file, in pixels of ours.

    Raises:
        InputError: the file does not hold 68 points between braces.
    """
    lines = lines_of(path)
    if "{" not in lines or "}" not in lines:
        raise InputError(str(path), "expected points between { and }")
    inside = lines[lines.index("{") + 1 : lines.index("}")]
    if len(inside) != 68:
        raise InputError(str(path), f"expected 68 points, got {len(inside)}")
    return np.array([numbers_of(path, line.split(), 2) for line in inside]) + MATLAB_PIXEL
