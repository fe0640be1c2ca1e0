"""The frames that rows of a table are about, read again in one pass over each input."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featflow.datasets.frame import EMPTY_IMAGE, Frame
from featflow.datasets.inputs import take_apart
from featflow.datasets.options import ReadOptions
from featflow.errors import FeatflowError, InputError, SchemaError

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Place:
    """One frame as the table describes it.

    Attributes:
        index: position in its input.
        time_s: seconds, NaN for stills.
        size_px: height and width; (0, 0) where the table does not say.
        members: which of the faces lie in it.
    """

    index: int
    time_s: float
    size_px: tuple[int, int]
    members: Rows


@dataclass(frozen=True, slots=True)
class FrameIndex:
    """Frames with faces, input by input, in the order of the inputs' first rows.

    Attributes:
        places: input to its frames, in the order of decoding.
    """

    places: Mapping[str, list[Place]]

    def __len__(self) -> int:
        return sum(len(frames) for frames in self.places.values())

    @classmethod
    def of(cls, table: pd.DataFrame, rows: Rows) -> FrameIndex:
        """The frames of some rows; ``members`` count these rows, not the table's.

        Raises:
            SchemaError: the table does not name the inputs, or a frame is no number.
        """
        if "input" not in table.columns:
            raise SchemaError("the table has no column 'input', which says where faces are")
        part = table.iloc[rows]
        if part["input"].isna().any():
            raise SchemaError("a row with a face has no 'input', which says where it is")
        column = {n: _numbers(part, n) for n in ("frame", "time", "FrameHeight", "FrameWidth")}
        frame = np.nan_to_num(column["frame"]).astype(np.int64)
        places: dict[str, list[Place]] = {}
        for name, members in part.groupby(part["input"].astype(str), sort=False).indices.items():
            order = members[np.argsort(frame[members], kind="stable")]
            cuts = np.flatnonzero(np.diff(frame[order])) + 1
            places[str(name)] = [_place(column, own) for own in np.split(order, cuts)]
        return cls(places)

    def read(
        self, wants_images: bool, pictures: Mapping[str, Any] | None = None
    ) -> Iterator[tuple[Frame, Rows]]:
        """Each frame with its members.

        Args:
            wants_images: False gives frames without pictures, and opens nothing that is not
                needed for their size.
            pictures: where inputs are now, if not where the table says.

        Yields:
            Frames in order. One that cannot be read again, or is of another size, has an
            ``error``.
        """
        for name, places in self.places.items():
            if not wants_images and all(min(place.size_px) > 0 for place in places):
                for place in places:
                    yield _bare(name, place), place.members
            else:
                yield from _opened(name, places, (pictures or {}).get(name, name))


def _place(column: Mapping[str, NDArray[np.float64]], members: Rows) -> Place:
    first = members[0]
    height, width = (np.nan_to_num(column[n][first]) for n in ("FrameHeight", "FrameWidth"))
    index = int(np.nan_to_num(column["frame"][first]))
    return Place(index, float(column["time"][first]), (int(height), int(width)), members)


def _numbers(table: pd.DataFrame, name: str) -> NDArray[np.float64]:
    if name not in table.columns:
        return np.full(len(table), math.nan)
    try:
        return np.asarray(table[name].to_numpy(np.float64, na_value=math.nan))
    except (TypeError, ValueError) as error:
        raise SchemaError(f"column {name!r} must hold numbers: {error}") from error


def _bare(name: str, place: Place, error: FeatflowError | None = None) -> Frame:
    return Frame(EMPTY_IMAGE, name, place.index, place.time_s, place.size_px, error=error)


def _opened(name: str, places: list[Place], given: Any) -> Iterator[tuple[Frame, Rows]]:
    """Frames of one input, decoded up to the last that is wanted."""
    waiting = list(places)
    failure: FeatflowError | None = None
    with closing(_decoded(name, given, {place.index for place in places})) as frames:
        for frame in frames:
            if frame.error is not None:
                failure = frame.error
                break
            place = waiting.pop(0)
            yield _checked(name, place, frame), place.members
            if not waiting:
                return
    for place in waiting:
        gone = InputError(
            name, f"has no frame {place.index}", "the table was made from another file"
        )
        yield _bare(name, place, failure or gone), place.members


def _decoded(name: str, given: Any, wanted: set[int]) -> Generator[Frame]:
    inputs = take_apart(given)
    if len(inputs) != 1:
        error = InputError(name, f"stands for {len(inputs)} inputs", "a row has one picture")
        yield Frame.failed(name, error)
        return
    for event in inputs[0].read(ReadOptions(frames=frozenset(wanted))):
        if isinstance(event, Frame) and (event.error is not None or event.index in wanted):
            yield event


def _checked(name: str, place: Place, frame: Frame) -> Frame:
    """The frame under the table's name, refused if it is not of the size that it was."""
    if min(place.size_px) > 0 and place.size_px != frame.size_px:
        (height, width), (was_high, was_wide) = frame.size_px, place.size_px
        told = f"is {width} x {height} pixels, but {was_wide} x {was_high} in the table"
        return _bare(name, place, InputError(name, told, "the table was made from another file"))
    return Frame(
        frame.image, name, place.index, place.time_s, frame.size_px, frame.scale, frame.error
    )
