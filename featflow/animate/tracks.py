"""One person's rows of a table as plain arrays, and what the 68 points of each row measure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featflow.errors import OptionError, SchemaError
from featflow.geometry.landmarks import interocular

Floats = NDArray[np.float64]

_X = [f"x_{i}" for i in range(68)]
_Y = [f"y_{i}" for i in range(68)]


class Track:
    """Columns of one person's rows, in the order of time.

    Args:
        table: at most one row a frame, see :func:`one_person`.
        fps: frames a second where the table has no times.
    """

    def __init__(self, table: pd.DataFrame, fps: float = 30.0) -> None:
        if not fps > 0:
            raise OptionError(f"fps must be above 0, got {fps}")
        self._table = table
        self.times_s = self._times(fps)

    def __len__(self) -> int:
        return len(self._table)

    def _times(self, fps: float) -> Floats:
        times = self.column("time")
        if len(times) and np.isfinite(times).all() and (np.diff(times) > 0).all():
            return times
        return np.arange(len(self._table)) / fps

    def faceless(self) -> NDArray[np.bool_]:
        """(T,) rows without head pose and without landmarks."""
        return ~np.isfinite(self.column("Pitch")) & ~np.isfinite(self.column("x_0"))

    def has(self, *names: str) -> bool:
        """Whether the table has all these columns."""
        return all(name in self._table.columns for name in names)

    def column(self, name: str) -> Floats:
        """(T,) values; NaN where the table has no such column."""
        if name not in self._table.columns:
            return np.full(len(self._table), np.nan)
        values = pd.to_numeric(self._table[name], errors="coerce")
        return np.asarray(values.to_numpy(np.float64, na_value=np.nan), np.float64)

    def au(self, number: int) -> Floats:
        """(T,) an action unit, 0..1; NaN where unknown."""
        return self.column(f"AU{number:02d}")

    def action_units(self) -> tuple[str, ...]:
        """Names of the action units that the table has, such as ``AU01``."""
        names = [str(name) for name in self._table.columns]
        return tuple(n for n in names if len(n) == 4 and n.startswith("AU") and n[2:].isdigit())

    def landmarks(self) -> Floats:
        """(T, 68, 2) points in pixels; NaN where unknown."""
        if not self.has(*_X, *_Y):
            return np.full((len(self), 68, 2), np.nan)
        x = self._table[_X].to_numpy(np.float64, na_value=np.nan)
        y = self._table[_Y].to_numpy(np.float64, na_value=np.nan)
        return np.stack([x, y], -1)


def one_person(table: Any, person: str | None = None) -> pd.DataFrame:
    """Rows of one person, at most one a frame.

    Args:
        table: a Fex or any pandas table with its columns.
        person: a label of the ``Identity`` column, ``"largest"`` for the largest face of each
            frame, or None if the table holds one person alone.

    Raises:
        SchemaError: not a table of faces, or several people and none chosen.
        OptionError: nobody in the table has that label.
    """
    if not isinstance(table, pd.DataFrame):
        raise SchemaError(f"a pandas table of faces is needed, got {type(table).__name__}")
    if "Pitch" not in table.columns and "x_0" not in table.columns:
        raise SchemaError("the table has neither head pose (Pitch, ...) nor landmarks (x_0, ...)")
    if person == "largest":
        return _largest(table)
    if person is not None:
        if "Identity" not in table.columns or not (table["Identity"] == person).any():
            known = _people(table)
            raise OptionError(f"nobody in the table is {person!r}; people: {known or 'unnamed'}")
        table = table.loc[(table["Identity"] == person) | _faceless(table)]
    people = _people(table)
    crowded = table[_frame_columns(table)].duplicated().any() if _frame_columns(table) else False
    if len(people) > 1 or (crowded and person is None):
        listed = ", ".join(people) if people else "faces without a name"
        raise SchemaError(
            f"the table holds more than one face a frame or person ({listed}): "
            "choose with person='...' (--person), or person='largest'"
        )
    rows: pd.DataFrame = table.drop_duplicates(_frame_columns(table)) if crowded else table
    return rows


def _people(table: pd.DataFrame) -> list[str]:
    if "Identity" not in table.columns:
        return []
    return sorted(str(name) for name in table["Identity"].dropna().unique())


def _faceless(table: pd.DataFrame) -> Any:
    measured = [name for name in ("Pitch", "x_0") if name in table.columns]
    return table[measured].isna().all(axis=1)


def _frame_columns(table: pd.DataFrame) -> list[str]:
    return [name for name in ("input", "frame") if name in table.columns]


def _largest(table: pd.DataFrame) -> pd.DataFrame:
    size = ["FaceRectWidth", "FaceRectHeight"]
    if not set(size) <= set(table.columns):
        raise SchemaError("person='largest' needs the columns FaceRectWidth and FaceRectHeight")
    area = (table[size[0]] * table[size[1]]).fillna(-1.0)
    order = area.sort_values(ascending=False, kind="stable").index
    kept = table.loc[order].drop_duplicates(_frame_columns(table)).index
    rows: pd.DataFrame = table.loc[table.index.isin(kept)]
    return rows


def eye_openness(points: Floats) -> Floats:
    """Gap over width of the right and left eye of (T, 68, 2) points, as (T, 2)."""
    ratios = []
    for first in (36, 42):
        p = points[:, first : first + 6]
        gap = np.linalg.norm(p[:, 1] - p[:, 5], axis=1) + np.linalg.norm(p[:, 2] - p[:, 4], axis=1)
        ratios.append(gap / 2 / np.linalg.norm(p[:, 3] - p[:, 0], axis=1))
    return np.stack(ratios, 1)


def face_size(points: Floats) -> Floats:
    """(T,) size in pixels that a turn of the head hardly changes: eye distance or nose line.

    The eyes come closer when the head turns, the nose line shortens when it nods; the larger of
    the two (the nose line scaled to the usual proportion) is the less foreshortened one.
    """
    eyes = interocular(points)
    nose = np.linalg.norm(points[:, 33] - points[:, [39, 42]].mean(1), axis=1)
    return np.asarray(np.fmax(eyes, nose / 0.52), np.float64)


def lip_gap(points: Floats) -> Floats:
    """(T,) distance of the inner lips in face sizes."""
    return np.asarray(
        np.linalg.norm(points[:, 66] - points[:, 62], axis=1) / face_size(points), np.float64
    )


def mouth_width(points: Floats) -> Floats:
    """(T,) distance of the mouth's corners over that of the eyes' outer corners."""
    width = np.linalg.norm(points[:, 54] - points[:, 48], axis=1)
    return np.asarray(width / interocular(points), np.float64)


def _upward(points: Floats) -> Floats:
    """(T, 2) unit vectors from the chin's side to the brows' side, across the eye line."""
    along = points[:, 45] - points[:, 36]
    along = along / np.linalg.norm(along, axis=1, keepdims=True)
    return np.stack([along[:, 1], -along[:, 0]], 1)


def brow_height(points: Floats) -> Floats:
    """(T, 2) height of the right and left brow above their eye, in face sizes."""
    up = _upward(points)
    heights = []
    for brow, eye in ((slice(17, 22), slice(36, 42)), (slice(22, 27), slice(42, 48))):
        corners = points[:, eye][:, [0, 3]].mean(1)
        heights.append(((points[:, brow].mean(1) - corners) * up).sum(1) / face_size(points))
    return np.stack(heights, 1)


def corner_height(points: Floats) -> Floats:
    """(T, 2) height of the right and left mouth corner above the upper lip, in face sizes."""
    up = _upward(points)
    offsets = [points[:, i] - points[:, 51] for i in (48, 54)]
    return np.stack([(o * up).sum(1) / face_size(points) for o in offsets], 1)
