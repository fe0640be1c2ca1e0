"""Boxes and landmarks of other programs, from JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featflow.errors import InputError, MissingInputError
from featflow.fex.meta import new_meta
from featflow.fex.table import Fex
from featflow.fex.unpack import set_fields
from featflow.geometry.landmarks import box_of_landmarks

_COUNTED = re.compile(r"_(\d{6})$")
_CORNERS, _POINTS = 4, 68

Face = tuple[NDArray[np.float64], NDArray[np.float64]]


def read_boxes(
    path: str | Path, folder: str | Path | None = None, clip: str | Path | None = None
) -> Fex:
    """A table from a JSON file of boxes and landmarks.

    The file maps the name of a picture to its faces: ``{"a.jpg": [{"detected": [left, top,
    right, bottom], "landmarks_2d": [[x, y], ...]}]}``, in original pixels. Of 68 landmarks
    the box may be left out; 4 are the corners of a box.

    Args:
        path: the file.
        folder: where the pictures lie; the file's folder if None.
        clip: the names are frames of this clip: ``name_000001.png`` is its first.

    Returns:
        One row a face, and one for a picture without any; columns of landmarks if any face has
        them. Scores and frame sizes are not known,
        so these columns are absent; :meth:`featflow.Detector.detect_from` takes such a table.

    Raises:
        MissingInputError: there is no such file.
        InputError: it is not of this form; the message names the picture.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingInputError(str(path), "no such file", "check the path")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(str(path), f"is not JSON: {error}") from error
    if not isinstance(document, Mapping):
        raise InputError(str(path), "does not map names of pictures to faces")
    home = Path(folder) if folder is not None else path.parent
    rows = list(_rows(path, document, home, clip))
    return _table(rows, path)


def _rows(
    path: Path, document: Mapping[str, Any], home: Path, clip: str | Path | None
) -> Iterator[tuple[str, int, Face | None]]:
    for name, faces in document.items():
        source, frame = (str(home / name), 0) if clip is None else _frame_of(path, name, clip)
        if not isinstance(faces, list):
            raise InputError(str(path), f"{name}: faces must be a list")
        if not faces:
            yield source, frame, None
        for number, face in enumerate(faces):
            try:
                yield source, frame, _face(face)
            except (ValueError, TypeError, KeyError) as error:
                raise InputError(str(path), f"{name}, face {number}: {error}") from error


def _frame_of(path: Path, name: str, clip: str | Path) -> tuple[str, int]:
    counted = _COUNTED.search(Path(name).stem)
    if counted is None or int(counted.group(1)) < 1:
        raise InputError(
            str(path), f"{name}: is not the name of a frame", "they end in _000001, _000002, ..."
        )
    return str(clip), int(counted.group(1)) - 1


def _face(face: Any) -> Face:
    """Box (4,) and landmarks (68, 2), NaN where there are none."""
    unknown = sorted(set(face) - {"detected", "landmarks_2d"})
    if unknown:
        raise ValueError(f"unknown keys {unknown}")
    landmarks = np.full((_POINTS, 2), np.nan)
    points = np.asarray(face.get("landmarks_2d", np.zeros((0, 2))), np.float64).reshape(-1, 2)
    if len(points) not in (0, _CORNERS, _POINTS):
        raise ValueError(f"{len(points)} landmarks; 68 are known here, or 4 corners")
    box = np.asarray(face["detected"] if "detected" in face else _box_of(points), np.float64)
    if box.shape != (4,) or not (np.isfinite(box).all() and np.isfinite(points).all()):
        raise ValueError("a box is 4 finite numbers, and landmarks are pairs of them")
    if not (box[2:] > box[:2]).all():
        raise ValueError(f"the box {box.tolist()} is not left, top, right, bottom")
    if len(points) == _POINTS:
        landmarks = points
    return box, landmarks


def _box_of(points: NDArray[np.float64]) -> NDArray[np.float64]:
    if not len(points):
        raise ValueError("neither a box nor landmarks")
    if len(points) == _CORNERS:
        return np.concatenate([points.min(0), points.max(0)])
    return box_of_landmarks(points)


def _table(rows: list[tuple[str, int, Face | None]], path: Path) -> Fex:
    source = pd.DataFrame(
        {
            "input": pd.array([name for name, _, _ in rows], dtype="str"),
            "frame": np.array([frame for _, frame, _ in rows], np.int64),
        }
    )
    found = [face for _, _, face in rows if face is not None]
    at = np.array([i for i, (_, _, face) in enumerate(rows) if face is not None], np.int64)
    boxes = np.array([box for box, _ in found], np.float32).reshape(-1, 4)
    points = np.array([marks for _, marks in found], np.float32).reshape(-1, _POINTS, 2)
    known = {"landmarks": points} if np.isfinite(points).any() else {}
    fex = set_fields(source, {"box": boxes, **known}, at)
    step = {"step": "read_boxes", "file": path.name}
    return Fex(fex, meta=new_meta(provenance=[step]))
