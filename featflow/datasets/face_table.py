"""What a table says of its faces, as arrays that a crop rule and a trainer take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featflow.errors import SchemaError
from featflow.fex.schema import FACEBOX, GROUPS, Group
from featflow.geometry.landmarks import five_points

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class TableFaces:
    """Rows of a table as a :class:`featflow.geometry.crop.FaceGeometry`.

    Attributes:
        table: the rows.
    """

    table: pd.DataFrame

    @cached_property
    def box(self) -> Floats:
        """(N, 4) x0, y0, x1, y1; NaN where there is no face."""
        return self._field(FACEBOX).reshape(-1, 4)

    @cached_property
    def landmarks(self) -> Floats:
        """(N, 68, 2); NaN where there are none."""
        return self._field(GROUPS["landmark"]).reshape(-1, 68, 2)

    @cached_property
    def points5(self) -> Floats:
        """(N, 5, 2) of the landmarks; a table does not keep the detector's own."""
        return five_points(self.landmarks)

    @property
    def has_landmarks(self) -> bool:
        """Whether the table has the columns of the 68 points."""
        return all(name in self.table.columns for name in GROUPS["landmark"].names())

    @cached_property
    def sizes_px(self) -> NDArray[np.int64]:
        """(N, 2) height and width of the frames; 0 where the table does not say."""
        names = ["FrameHeight", "FrameWidth"]
        if any(name not in self.table.columns for name in names):
            return np.zeros((len(self.table), 2), np.int64)
        return self.table[names].fillna(0).to_numpy(np.int64)

    @property
    def extents_px(self) -> NDArray[np.int64]:
        """As ``sizes_px``, and endless where the table does not say."""
        return np.where(self.sizes_px > 0, self.sizes_px, np.iinfo(np.int32).max)

    @cached_property
    def kept(self) -> NDArray[np.bool_]:
        """(N,) False where a filter marked the row."""
        if "Keep" not in self.table.columns:
            return np.ones(len(self.table), bool)
        return np.asarray(self.table["Keep"].fillna(True), bool)

    def _field(self, group: Group) -> NDArray[np.float64]:
        names = list(group.packed_names())
        present = [name for name in names if name in self.table.columns]
        if len(present) < len(names):
            return np.full((len(self.table), len(names)), np.nan)
        return np.asarray(group.unpack(self.table[names].to_numpy(np.float64)), np.float64)


@dataclass(frozen=True, slots=True)
class Targets:
    """Columns that a model shall learn.

    Attributes:
        columns: their names.
        values: (N, columns) float32; a column of texts holds the number of its class.
        classes: texts of each such column, in the order of their numbers.
    """

    columns: tuple[str, ...]
    values: NDArray[np.float32]
    classes: dict[str, tuple[str, ...]]

    def take(self, rows: NDArray[np.integer[Any]]) -> Targets:
        """Some of the rows; classes keep their numbers."""
        return Targets(self.columns, self.values[rows], self.classes)


def read_targets(table: pd.DataFrame, columns: Sequence[str]) -> Targets:
    """Columns of a table as numbers; NaN where a label is missing.

    Raises:
        SchemaError: a column is not there, or holds neither numbers nor texts.
    """
    missing = [name for name in columns if name not in table.columns]
    if missing:
        near = get_close_matches(missing[0], map(str, table.columns), 5)
        hint = (
            f"did you mean {', '.join(near)}?" if near else f"none of {len(table.columns)} is near"
        )
        raise SchemaError(f"the table has no column {', '.join(missing)}; {hint}")
    values = np.full((len(table), len(columns)), np.nan, np.float32)
    classes: dict[str, tuple[str, ...]] = {}
    for at, name in enumerate(columns):
        series = table[name]
        if pd.api.types.is_numeric_dtype(series.dtype):
            values[:, at] = series.to_numpy(np.float32, na_value=np.nan)
            continue
        known = series.notna() & (series.astype(str) != "")
        labels = tuple(sorted(set(series[known].astype(str))))
        code = {label: number for number, label in enumerate(labels)}
        values[known.to_numpy(), at] = [code[str(label)] for label in series[known]]
        classes[name] = labels
    return Targets(tuple(columns), values, classes)
