"""The table's schema as data: every column with its unit, range and meaning.

Whatever needs to know a column (accessors, readers, writers, the page ``docs/table.md``)
reads it here. Groups are found by these lists, never by a prefix of a column's name.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from featflow.errors import SchemaError

Floats = NDArray[np.floating[Any]]
DType = Literal["float32", "float64", "int64", "bool", "str"]
Layout = Literal["plain", "points", "corners"]

SCHEMA_VERSION = 1
"""Raised when a column changes its meaning; adding a column does not raise it."""

ACTION_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 20, 23, 24, 25, 26, 28, 43)
EMOTIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        name: as it stands in the table; a family has ``{}`` where its members have a number.
        unit: ``"px"``, ``"rad"``, ``"cm"``, ``"s"``, ``"probability"``, ... or empty.
        low, high: range of the values; infinite where there is no bound.
        description: what the value means, in one sentence.
        dtype: dtype that featflow writes.
    """

    name: str
    unit: str
    low: float
    high: float
    description: str
    dtype: DType = "float32"


@dataclass(frozen=True, slots=True)
class Group:
    """Columns that belong together and come from one node.

    Attributes:
        name: key of the group in :data:`GROUPS`.
        columns: in the order of the table.
        field: field of the face batch that fills the columns; empty where none does.
        description: what the group is.
        slot: slot of the detector whose node makes the group.
        layout: how the field's numbers become columns, see :meth:`pack`.
        single_fields: columns that come from a field of their own, column to field.
        family: pattern of numbered columns (``Identity_{}``), counted from 1, in place of
            ``columns``.
    """

    name: str
    columns: tuple[Column, ...]
    field: str
    description: str
    slot: str = ""
    layout: Layout = "plain"
    single_fields: Mapping[str, str] = dataclasses.field(default_factory=dict)
    family: Column | None = None

    def names(self, width: int = 0) -> tuple[str, ...]:
        """Names of all columns; a family has ``width`` of them."""
        if self.family is not None:
            return tuple(self.family.name.format(i) for i in range(1, width + 1))
        return tuple(column.name for column in self.columns)

    def packed_names(self, width: int = 0) -> tuple[str, ...]:
        """Names of the columns that :meth:`pack` fills, in its order."""
        return tuple(name for name in self.names(width) if name not in self.single_fields)

    def present(self, columns: Iterable[str]) -> list[str]:
        """Those of ``columns`` that belong to the group, in the order of the schema."""
        have = set(columns)
        if self.family is None:
            return [name for name in self.names() if name in have]
        width = 0
        while self.family.name.format(width + 1) in have:
            width += 1
        return list(self.names(width))

    def pack(self, values: NDArray[Any]) -> Floats:
        """Turn a field, N rows of any shape, into the columns :meth:`packed_names`.

        ``"plain"`` keeps the order of the numbers; ``"points"`` puts all x before all y;
        ``"corners"`` turns x0, y0, x1, y1 into x, y, width, height.

        Args:
            values: (N, ...) numbers.

        Returns:
            (N, columns) numbers of the same dtype.

        Raises:
            SchemaError: the field has another number of values a face.
        """
        array = np.asarray(values)
        flat = array.reshape(len(array), math.prod(array.shape[1:]))
        expected = flat.shape[1] if self.family else len(self.packed_names())
        if flat.shape[1] != expected:
            raise SchemaError(
                f"field {self.field!r} of group {self.name!r} has {flat.shape[1]} values a face, "
                f"the schema has {expected} columns"
            )
        return _LAYOUTS[self.layout][0](flat)

    def unpack(self, columns: Floats) -> Floats:
        """Turn columns (N, C) back into the field that :meth:`pack` took."""
        return _LAYOUTS[self.layout][1](np.asarray(columns))


def _points_to_columns(flat: Floats) -> Floats:
    return np.concatenate([flat[:, 0::2], flat[:, 1::2]], 1)


def _columns_to_points(columns: Floats) -> Floats:
    half = columns.shape[1] // 2
    return np.stack([columns[:, :half], columns[:, half:]], -1)


def _corners_to_size(flat: Floats) -> Floats:
    return np.concatenate([flat[:, :2], flat[:, 2:] - flat[:, :2]], 1)


def _size_to_corners(columns: Floats) -> Floats:
    return np.concatenate([columns[:, :2], columns[:, :2] + columns[:, 2:4]], 1)


_LAYOUTS: dict[str, tuple[Callable[[Floats], Floats], Callable[[Floats], Floats]]] = {
    "plain": (np.asarray, np.asarray),
    "points": (_points_to_columns, _columns_to_points),
    "corners": (_corners_to_size, _size_to_corners),
}

_INF = math.inf
_PI = math.pi

_AU_MEANING = {
    1: "inner brow raiser",
    2: "outer brow raiser",
    4: "brow lowerer",
    5: "upper lid raiser",
    6: "cheek raiser",
    7: "lid tightener",
    9: "nose wrinkler",
    10: "upper lip raiser",
    11: "nasolabial deepener",
    12: "lip corner puller",
    14: "dimpler",
    15: "lip corner depressor",
    17: "chin raiser",
    20: "lip stretcher",
    23: "lip tightener",
    24: "lip pressor",
    25: "lips part",
    26: "jaw drop",
    28: "lip suck",
    43: "eyes closed",
}

SOURCE = Group(
    "source",
    (
        Column("input", "", -_INF, _INF, "Path of the file, or the name of the input.", "str"),
        Column("frame", "index", 0, _INF, "Frame in its source, counted from 0.", "int64"),
        Column(
            "time",
            "s",
            0,
            _INF,
            "Presentation time from the start of the clip; missing for photos.",
            "float64",
        ),
        Column("FrameHeight", "px", 0, _INF, "Height of the original; 0 if unreadable.", "int64"),
        Column("FrameWidth", "px", 0, _INF, "Width of the original; 0 if unreadable.", "int64"),
    ),
    "",
    "Where the face was seen.",
)

FACEBOX = Group(
    "facebox",
    (
        Column("FaceRectX", "px", -_INF, _INF, "Left edge of the detected box."),
        Column("FaceRectY", "px", -_INF, _INF, "Top edge of the detected box."),
        Column("FaceRectWidth", "px", 0, _INF, "Width of the detected box."),
        Column("FaceRectHeight", "px", 0, _INF, "Height of the detected box."),
        Column(
            "FaceScore",
            "probability",
            0,
            1,
            "Detector's confidence; 0 for a frame without a face, missing for an unreadable one.",
        ),
    ),
    "box",
    "The detection itself, not an expanded crop.",
    slot="face",
    layout="corners",
    single_fields=MappingProxyType({"FaceScore": "score"}),
)

LANDMARK = Group(
    "landmark",
    tuple(
        Column(
            f"{axis}_{i}", "px", -_INF, _INF, f"{word} coordinate of point {i} in iBUG-68 order."
        )
        for axis, word in (("x", "Horizontal"), ("y", "Vertical"))
        for i in range(68)
    ),
    "landmarks",
    "68 points of the face.",
    slot="landmark",
    layout="points",
)


def _trust(slot: str, of: str, what: str) -> Group:
    """The group of one column, ``<Slot>Score``, with a node's confidence in its answer."""
    column = Column(f"{slot.title()}Score", "probability", 0, 1, f"Confidence in the {of}.")
    name = f"{slot}_score"
    return Group(name, (column,), name, f"How far the {what} can be trusted.", slot=slot)


LANDMARK_SCORE = _trust("landmark", "68 points", "points")

POSE = Group(
    "pose",
    (
        Column("Pitch", "rad", -_PI / 2, _PI / 2, "Head turned up (+) or down (-)."),
        Column("Roll", "rad", -_PI, _PI, "Head tilted to the subject's right (+) or left (-)."),
        Column("Yaw", "rad", -_PI, _PI, "Head turned to the subject's right (+) or left (-)."),
        Column("X", "cm", -_INF, _INF, "Head's place right of the optical axis."),
        Column("Y", "cm", -_INF, _INF, "Head's place above the optical axis."),
        Column("Z", "cm", 0, _INF, "Head's distance along the optical axis."),
    ),
    "pose",
    "Rotation and place of the head, for a pinhole camera whose focal length equals the "
    "longer side of the frame.",
    slot="pose",
)

AU = Group(
    "au",
    tuple(
        Column(f"AU{i:02d}", "0..1", 0, 1, f"FACS action unit {i}, {_AU_MEANING[i]}.")
        for i in ACTION_UNITS
    ),
    "aus",
    "Facial action units.",
    slot="au",
)

EMOTION = Group(
    "emotion",
    tuple(
        Column(name, "probability", 0, 1, f"Probability that the face shows {shown}.")
        for name, shown in zip(EMOTIONS, (*EMOTIONS[:-1], "no emotion"), strict=True)
    ),
    "emotions",
    "Expressed emotion; the seven sum to 1.",
    slot="emotion",
)

GAZE = Group(
    "gaze",
    (
        Column("gaze_pitch", "rad", -_PI / 2, _PI / 2, "Eyes look up (+) or down (-)."),
        Column("gaze_yaw", "rad", -_PI, _PI, "Eyes look to the subject's right (+) or left (-)."),
        Column("gaze_angle", "rad", 0, _PI, "Angle between gaze and optical axis."),
    ),
    "gaze",
    "Direction of gaze in the camera's frame; 0, 0 looks straight along the optical axis.",
    slot="gaze",
)

GAZE_SCORE = _trust("gaze", "direction of gaze", "gaze")

IDENTITY = Group(
    "identity",
    (
        Column("Identity", "", -_INF, _INF, "Person_1, Person_2, ..., Unknown, or missing.", "str"),
        Column("IdentityScore", "0..1", 0, 1, "Cosine similarity with the person's other faces."),
    ),
    "",
    "Who it is.",
    slot="identity",
    single_fields=MappingProxyType({"Identity": "identity", "IdentityScore": "identity_score"}),
)

IDENTITY_EMBEDDING = Group(
    "identity_embedding",
    (),
    "embedding",
    "Vector that is alike for pictures of one person; its length is the node's.",
    slot="identity",
    family=Column("Identity_{}", "", -_INF, _INF, "Numbers of the identity vector, from 1."),
)

FILTER = Group(
    "filter",
    (
        Column("FaceShare", "share", 0, _INF, "Box's longer side over the frame's shorter side."),
        Column("AlignedOrder", "share", -_INF, _INF, "Space from eyes to mouth in the square."),
        Column("AlignedScale", "share", 0, _INF, "Face crop's side over the frame's shorter side."),
        Column("AlignedDistance", "share", 0, _INF, "Mean distance in x, y from the mean face."),
        Column("AlignedRoll", "rad", -_PI, _PI, "Tilt of the points, signs as of `Roll`."),
        Column("WantedScore", "cosine", -1, 1, "Likeness to the most like person wanted."),
        Column("UnwantedScore", "cosine", -1, 1, "Likeness to the most like person not wanted."),
    ),
    "",
    "Numbers of filters; lengths count the unit square that the aligned inner face fills.",
    single_fields=MappingProxyType(
        {
            "FaceShare": "face_share",
            "AlignedOrder": "aligned_order",
            "AlignedScale": "aligned_scale",
            "AlignedDistance": "aligned_distance",
            "AlignedRoll": "aligned_roll",
            "WantedScore": "wanted_score",
            "UnwantedScore": "unwanted_score",
        }
    ),
)

DECISION = Group(
    "decision",
    (
        Column("Keep", "", 0, 1, "False where a filter marked the row.", "bool"),
        Column(
            "FilterReason", "", -_INF, _INF, "Why the row was marked; empty if it was not.", "str"
        ),
    ),
    "",
    "What filters decided; they mark rows and never delete them.",
    single_fields=MappingProxyType({"Keep": "keep", "FilterReason": "filter_reason"}),
)

GROUPS: dict[str, Group] = {
    group.name: group
    for group in (
        SOURCE,
        FACEBOX,
        LANDMARK,
        LANDMARK_SCORE,
        POSE,
        AU,
        EMOTION,
        GAZE,
        GAZE_SCORE,
        IDENTITY,
        IDENTITY_EMBEDDING,
        FILTER,
        DECISION,
    )
}
"""All groups, in the order of the table."""

COLUMNS: dict[str, Column] = {c.name: c for g in GROUPS.values() for c in g.columns}
"""All columns with a fixed name."""


@cache
def column(name: str) -> Column | None:
    """The schema's column of that name, also of a family; None for an unknown column."""
    if name in COLUMNS:
        return COLUMNS[name]
    for group in GROUPS.values():
        if group.family is None:
            continue
        head, tail = group.family.name.split("{}")
        number = name.removeprefix(head).removesuffix(tail)
        if number.isdecimal() and group.family.name.format(int(number)) == name:
            return group.family
    return None


def present_groups(columns: Iterable[str]) -> dict[str, list[str]]:
    """Groups of which at least one column is there, with those columns."""
    names = list(columns)
    found = {group.name: group.present(names) for group in GROUPS.values()}
    return {name: there for name, there in found.items() if there}
