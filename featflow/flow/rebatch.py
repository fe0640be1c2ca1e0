"""Cutting a stream of batches into other sizes, without losing order, frames or faces.

Where a batch ends depends on the stream alone (counts and bytes since the start or the last
flush), never on time or threads: two runs over the same frames cut the same batches.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final, Literal

import numpy as np

from featflow.datasets.frame import Frame
from featflow.errors import OptionError
from featflow.flow.batch import Batch, FaceBatch, FrameBatch
from featflow.flow.clock import Clock


class Signal(Enum):
    """Marks that travel through a flow between batches."""

    FLUSH = "flush"
    END = "end"


FLUSH: Final[Literal[Signal.FLUSH]] = Signal.FLUSH
"""Put between lists of frames: what came before leaves every stage before what comes after
enters, so that no batch holds frames from both sides."""

END: Final[Literal[Signal.END]] = Signal.END


@dataclass(slots=True)
class Parcel:
    """A batch on its way, and whether its last frame goes on in the next one."""

    batch: Batch
    open_end: bool = False

    @property
    def closed_nbytes(self) -> int:
        """Bytes of the pictures that no later parcel of the stream holds."""
        images = self.batch.frames.images
        return sum(image.nbytes for image in (images[:-1] if self.open_end else images))


class Rebatcher:
    """Gathers faces across frames into batches of one size.

    A full batch leaves at once. Frames without faces leave at once too where no face waits,
    and ride with their neighbours otherwise. A batch leaves short when the frames that wait
    reach a bound, and on a flush.

    Args:
        size: faces a batch.
        hold_frames: frames that may wait for more faces.
        hold_bytes: bytes of pictures that may wait for more faces.
    """

    def __init__(self, size: int, hold_frames: int, hold_bytes: int) -> None:
        self._size = size
        self._hold_frames = hold_frames
        self._hold_bytes = hold_bytes
        self._parts: list[Batch] = []
        self._open = False

    def push(self, parcel: Parcel) -> list[Parcel]:
        """Take a batch in; return those that are ready."""
        self._parts.append(parcel.batch)
        self._open = parcel.open_end
        faces = sum(len(part.faces) for part in self._parts)
        held = self._over_bound()
        return self._release(held) if held or faces >= self._size or faces == 0 else []

    def flush(self) -> list[Parcel]:
        """Return all that waits."""
        return self._release(everything=True) if self._parts else []

    def _over_bound(self) -> bool:
        frames = sum(len(part.frames) for part in self._parts)
        held = sum(part.frames.nbytes for part in self._parts)
        return frames >= self._hold_frames or held >= self._hold_bytes

    def _release(self, everything: bool) -> list[Parcel]:
        rest = Batch.concat(self._parts)
        self._parts = []
        ready = []
        while len(rest.faces) >= self._size:
            head, rest = rest.split(self._size)
            ready.append(Parcel(head, self._goes_on(head, rest)))
        if len(rest.frames) and (everything or not len(rest.faces)):
            ready.append(Parcel(rest, self._open))
        elif len(rest.frames):
            self._parts = [rest]
        return ready

    def _goes_on(self, head: Batch, rest: Batch) -> bool:
        if len(rest.frames):
            return bool(head.frames.uids[-1] == rest.frames.uids[0])
        return self._open


class Assembler:
    """Puts frames whose faces were split over several batches together again."""

    def __init__(self) -> None:
        self._parts: list[Batch] = []

    def push(self, parcel: Parcel) -> list[Batch]:
        """Take a batch in; return the whole frames that are complete now."""
        whole = Batch.concat([*self._parts, parcel.batch])
        if not parcel.open_end:
            self._parts = []
            return [whole] if len(whole.frames) else []
        last = len(whole.frames) - 1
        self._parts = [whole.take_frames(last, last + 1)]
        return [whole.take_frames(0, last)] if last else []


FrameSource = Iterable[Sequence[Frame] | Batch | Literal[Signal.FLUSH]]


class Feeder:
    """Numbers frames as they come from a source and gathers them into batches.

    Args:
        source: lists of frames, with :data:`FLUSH` between them where wanted.
        size: frames a batch.
        hold_bytes: bytes of pictures at which a batch leaves short.
        min_score: put into every batch.
        given: fields of the faces that come with the frames; then the source gives batches.
        admit: called with the bytes of each frame before it enters; may wait.
    """

    def __init__(
        self,
        source: FrameSource,
        size: int,
        hold_bytes: int,
        min_score: float,
        given: Collection[str],
        admit: Callable[[int], None],
    ) -> None:
        self.clock = Clock("decode")
        self._source = iter(source)
        self._size = size
        self._hold_bytes = hold_bytes
        self._min_score = min_score
        self._given = given
        self._admit = admit
        self._waiting: list[Frame] = []
        self._waiting_bytes = 0
        self._next_uid = 0
        self._ended = False

    def items(self) -> Iterator[Parcel | Signal]:
        """Batches and signals, ending with :data:`END`."""
        while not self._ended:
            # One item a call: no variable keeps frames alive while the next are decoded.
            yield from self._advance()

    def close(self) -> None:
        """Close the source, where it can be closed (a generator lets go of its files)."""
        closing = getattr(self._source, "close", None)
        if closing is not None:
            closing()

    def _advance(self) -> Iterator[Parcel | Signal]:
        with self.clock:
            item = next(self._source, END)
        if isinstance(item, Signal):
            self._ended = item is END
            yield from self._cut()
            yield item
            return
        if self._given:
            yield from self._with_faces(item)
            return
        for frame in _checked(item):
            self._admit(frame.nbytes)
            self._waiting.append(frame)
            self._waiting_bytes += frame.nbytes
            if len(self._waiting) >= self._size or self._waiting_bytes >= self._hold_bytes:
                yield from self._cut()

    def _with_faces(self, item: Any) -> Iterator[Parcel]:
        if not isinstance(item, Batch) or not item.faces.fields.keys() >= set(self._given):
            raise OptionError(
                f"this flow reads batches of frames whose faces have {sorted(self._given)}; "
                f"the source gave {item!r}"
            )
        for row, image in enumerate(item.frames.images):
            # Frame by frame: a batch may be larger than all that may be in flight.
            self._admit(image.nbytes)
            one = item.take_frames(row, row + 1)
            uid = np.full(1, self._next_uid, np.int64)
            frames = replace(one.frames, uids=uid)
            faces = replace(one.faces, frame_uid=np.repeat(uid, len(one.faces)))
            self._next_uid += 1
            yield Parcel(replace(one, frames=frames, faces=faces))

    def _cut(self) -> Iterator[Parcel]:
        if not self._waiting:
            return
        frames = FrameBatch.from_frames(self._waiting, self._next_uid)
        self._next_uid += len(frames)
        self._waiting, self._waiting_bytes = [], 0
        yield Parcel(Batch(frames, FaceBatch.empty(), self._min_score))


def _checked(item: Any) -> Sequence[Frame]:
    if isinstance(item, Sequence) and all(isinstance(frame, Frame) for frame in item):
        return item
    raise OptionError(
        f"a flow reads lists of Frame, or FLUSH between them; the source gave {type(item).__name__}"
    )
