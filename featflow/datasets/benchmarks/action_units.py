"""Action units that people coded: DISFA, DISFA+ and BP4D."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featflow.datasets.benchmarks.files import first_folder, lines_of, numbers_of, table_of
from featflow.datasets.benchmarks.sets import FaceSet
from featflow.errors import InputError

DISFA_UNITS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
BP4D_UNITS = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
"""Units that the literature on BP4D reports; more are coded."""

BP4D_NOT_CODED = 9.0
PRESENT_OCCURRENCE = 1.0

Codes = dict[int, NDArray[np.float64]]


def names_of(units: tuple[int, ...]) -> tuple[str, ...]:
    """Columns of the table: ``AU01``, ``AU02``, ..."""
    return tuple(f"AU{unit:02d}" for unit in units)


def disfa(root: Path) -> FaceSet:
    """DISFA: frames of the left camera's clips with intensities 0 to 5 of 12 units.

    ``ActionUnit_Labels/SN001/SN001_au1.txt`` has rows ``frame,intensity``, frames from 1;
    ``Videos_LeftCamera/LeftVideoSN001_comp.avi`` is the clip.
    """
    inputs: list[Path] = []
    frames, codes = [np.zeros(0, np.int64)], [np.zeros((0, len(DISFA_UNITS)))]
    for folder in sorted((root / "ActionUnit_Labels").glob("SN*")):
        found: Codes = {}
        for column, unit in enumerate(DISFA_UNITS):
            path = folder / f"{folder.name}_au{unit}.txt"
            for frame, intensity in table_of(path, 2, ","):
                row = found.setdefault(int(frame), np.full(len(DISFA_UNITS), np.nan))
                row[column] = intensity
        clip = root / "Videos_LeftCamera" / f"LeftVideo{folder.name}_comp.avi"
        if not clip.is_file():
            raise InputError(str(clip), f"is missing, and {folder} has labels for it")
        order = sorted(found)
        inputs += [clip] * len(order)
        frames.append(np.array(order, np.int64) - 1)
        codes.append(np.stack([found[frame] for frame in order]))
    return _coded(inputs, np.concatenate(codes), DISFA_UNITS, 2.0, np.concatenate(frames))


def disfa_plus(root: Path) -> FaceSet:
    """DISFA+: posed and spontaneous trials with intensities 0 to 5 of 12 units.

    ``Labels/SN001/A1_AU1_TrailNo_1/AU1.txt`` has two lines of text and then rows
    ``000.jpg 0``; the pictures are ``Images/SN001/A1_AU1_TrailNo_1/000.jpg``.
    """
    inputs: list[Path] = []
    codes = []
    for trial in sorted((root / "Labels").glob("SN*/*")):
        pictures = root / "Images" / trial.parent.name / trial.name
        found: dict[str, NDArray[np.float64]] = {}
        for column, unit in enumerate(DISFA_UNITS):
            path = trial / f"AU{unit}.txt"
            for name, intensity in _picture_rows(path):
                row = found.setdefault(name, np.full(len(DISFA_UNITS), np.nan))
                row[column] = intensity
        known = [name for name in sorted(found) if (pictures / name).is_file()]
        inputs += [pictures / name for name in known]
        codes += [found[name] for name in known]
    return _coded(inputs, np.array(codes).reshape(-1, len(DISFA_UNITS)), DISFA_UNITS, 2.0)


def _picture_rows(path: Path) -> list[tuple[str, float]]:
    """Rows of a picture's name and a number; the lines of text above them are left out."""
    rows = [line.split() for line in lines_of(path)]
    named = [row for row in rows if row[0].lower().endswith(".jpg")]
    return [(row[0], numbers_of(path, row[1:], 1)[0]) for row in named]


def bp4d(root: Path) -> FaceSet:
    """BP4D: frames of spontaneous expressions with occurrence (0 or 1) of 12 units.

    ``AUCoding/AU_OCC/F001_T1.csv`` has the units' numbers in its first row, frames in its first
    column, and 9 where a unit was not coded; the pictures are ``F001/T1/<frame>.jpg``, with any
    number of leading zeros, in ``root`` or in a folder of it.
    """
    inputs: list[Path] = []
    codes = []
    for path in sorted((root / "AUCoding" / "AU_OCC").glob("*_T*.csv")):
        subject, task = path.stem.split("_")[:2]
        parents = [root, *(p for p in sorted(root.glob("*")) if p.is_dir())]
        folder = first_folder(root, *(str(p / subject / task) for p in parents))
        pictures = {int(p.stem): p for p in folder.glob("*.jpg") if p.stem.isdecimal()}
        frames, found = _occurrence(path)
        for frame, row in zip(frames, found, strict=True):
            if int(frame) in pictures:
                inputs.append(pictures[int(frame)])
                codes.append(row)
    coded = np.array(codes).reshape(-1, len(BP4D_UNITS))
    return _coded(inputs, coded, BP4D_UNITS, PRESENT_OCCURRENCE)


def _occurrence(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Frames (N,) and codes (N, 12) of one table of BP4D."""
    lines = [line.split(",") for line in lines_of(path)]
    head = [int(n) for n in numbers_of(path, lines[0][1:])]
    absent = sorted(set(BP4D_UNITS) - set(head))
    if absent:
        raise InputError(str(path), f"has no columns for units {absent}; first row: {lines[0]}")
    table = np.array([numbers_of(path, row, len(lines[0])) for row in lines[1:]])
    table = table.reshape(-1, len(lines[0]))
    codes = table[:, [1 + head.index(unit) for unit in BP4D_UNITS]]
    return table[:, 0], np.where(codes == BP4D_NOT_CODED, np.nan, codes)


def _coded(
    inputs: list[Path],
    codes: NDArray[np.float64],
    units: tuple[int, ...],
    present_from: float,
    frames: NDArray[np.int64] | None = None,
) -> FaceSet:
    return FaceSet(
        tuple(inputs),
        np.zeros(len(inputs), np.int64) if frames is None else frames,
        np.full((len(inputs), 4), np.nan),
        units=names_of(units),
        intensities=codes,
        present_from=present_from,
    )
