"""What a benchmark gives, once it is read: where its pictures lie, and the truth in our units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.errors import OptionError

Floats = NDArray[np.floating[Any]]
Rows = NDArray[np.bool_]

TRUTHS = {
    "au": "intensities",
    "emotion": "emotions",
    "landmark": "landmarks",
    "pose": "rotations",
    "gaze": "gaze",
}
"""Kind of node to the field of :class:`FaceSet` that it is measured against."""


@dataclass(frozen=True, slots=True)
class FaceSet:
    """N faces, each in a photograph or a frame of its own.

    Attributes:
        inputs: N photographs or clips.
        frames: (N,) index in the clip's full decode; 0 for photographs.
        boxes: (N, 4) where the face is, ``x0, y0, x1, y1`` in pixels; NaN where the set does not
            say, and the surest detection is taken for it.
        units: U names of action units, as in the table.
        intensities: (N, U) human codes; NaN where a unit was not coded.
        present_from: code from which a unit counts as present.
        emotions: (N,) index in the table's order of expressions.
        landmarks: (N, 68, 2) pixels, iBUG order.
        normaliser: length by which the set's own protocol measures landmarks.
        rotations: (N, 3, 3) heads in the camera's frame (:mod:`featflow.geometry.rotation`).
        gaze: (N, 2) pitch and yaw in radians, signs as in the table.
        groups: rows (N,) of each part that the set's protocol tells apart.
    """

    inputs: tuple[Path, ...]
    frames: NDArray[np.int64]
    boxes: Floats
    units: tuple[str, ...] = ()
    intensities: Floats | None = None
    present_from: float = 2.0
    emotions: NDArray[np.int64] | None = None
    landmarks: Floats | None = None
    normaliser: str = "interocular"
    rotations: Floats | None = None
    gaze: Floats | None = None
    groups: Mapping[str, Rows] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of nodes that can be measured on it."""
        return tuple(kind for kind, name in TRUTHS.items() if getattr(self, name) is not None)

    def truth(self, kind: str) -> NDArray[Any]:
        """What a kind of node is measured against.

        Raises:
            OptionError: the set does not tell it.
        """
        values: NDArray[Any] | None = getattr(self, TRUTHS[kind], None) if kind in TRUTHS else None
        if values is None:
            raise OptionError(f"this set has truth for {', '.join(self.kinds)}, not for {kind}")
        return values


def of_photographs(photographs: list[Path], boxes: Floats | None = None, **truth: Any) -> FaceSet:
    """A set of photographs; without boxes the surest detection of each counts.

    Raises:
        OptionError: a truth is not about as many faces as there are photographs.
    """
    count = len(photographs)
    boxes = np.full((count, 4), np.nan) if boxes is None else np.asarray(boxes, np.float64)
    told = {n: v for n, v in truth.items() if isinstance(v, np.ndarray)}
    for name, values in {"boxes": boxes, **told}.items():
        if len(values) != count:
            raise OptionError(f"{count} photographs and {len(values)} rows of {name}")
    return FaceSet(tuple(photographs), np.zeros(count, np.int64), boxes, **truth)


@dataclass(frozen=True, slots=True)
class PairSet:
    """Pairs of photographs, each of one person or of two.

    Attributes:
        inputs: N photographs; the person who is meant stands in the middle.
        one, other: (P,) rows of the two photographs of each pair.
        same: (P,) whether they show one person.
        folds: (P,) part of the set's protocol that the pair is in.
    """

    inputs: tuple[Path, ...]
    one: NDArray[np.int64]
    other: NDArray[np.int64]
    same: Rows
    folds: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.same)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of nodes that can be measured on it."""
        return ("identity",)


@dataclass(frozen=True, slots=True)
class BoxSet:
    """Photographs with every face in a box.

    Attributes:
        inputs: N photographs.
        boxes: N arrays (F, 4), ``x0, y0, x1, y1`` in pixels.
        subsets: name to N arrays (F,): faces that count in it.
    """

    inputs: tuple[Path, ...]
    boxes: tuple[Floats, ...]
    subsets: Mapping[str, tuple[Rows, ...]]

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of nodes that can be measured on it."""
        return ("face",)


AnySet = FaceSet | PairSet | BoxSet
