"""One node at work: its three phases on a batch, checked, timed and retried when memory ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from featflow.errors import FeatflowError, NodeError
from featflow.flow.batch import Batch, FaceBatch, absent
from featflow.flow.checks import checked_faces, checked_fields, describe, refuse_cuts
from featflow.flow.clock import Clock
from featflow.flow.node import Node
from featflow.flow.rebatch import Parcel

Result = FaceBatch | dict[str, NDArray[Any]]
Checked = TypeVar("Checked")


@dataclass(slots=True)
class Chunk:
    """What a node sees at one time, and what it made of it."""

    batch: Batch
    value: Any = None


@dataclass(slots=True)
class Work:
    """A parcel inside a node.

    Attributes:
        parcel: the parcel.
        rows: frames (or faces) of it that the node is shown.
        chunks: those rows, in pieces that the node takes at one time.
    """

    parcel: Parcel
    rows: NDArray[np.int64]
    chunks: list[Chunk] = field(default_factory=list)


class NodeStage:
    """Runs one node for one flow.

    Args:
        node: a loaded node.
        size: frames or faces at a time.
        limits: largest batch that fitted into memory, a node id, shared with later runs.
    """

    def __init__(self, node: Node, size: int, limits: dict[str, int]) -> None:
        self.node = node
        self._size = size
        self._limits = limits
        self._rest: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
        self.clocks = [Clock(f"{node.id}.{phase}") for phase in ("pre", "process", "post")]

    @property
    def limit(self) -> int:
        """Frames or faces that the node is given at one time."""
        return min(self._size, self._limits.get(self.node.id, self._size))

    def pre(self, parcel: Parcel) -> Work:
        """Choose the rows that the node is shown and prepare them."""
        batch = parcel.batch
        work = Work(parcel, np.flatnonzero(self._usable(batch)))
        whole = len(work.rows) == self._count(batch)
        with self.clocks[0]:
            shown = batch if whole else self._take(batch, work.rows)
            work.chunks = [self._prepared(piece) for piece in self._pieces(shown)]
        return work

    def process(self, work: Work) -> Work:
        """Run the network, in smaller pieces where memory runs out."""
        with self.clocks[1]:
            work.chunks = [done for chunk in work.chunks for done in self._attempt(chunk)]
        return work

    def post(self, work: Work) -> Result:
        """Turn outputs into faces or fields for every row of the parcel."""
        with self.clocks[2]:
            if self.node.unit == "frame":
                return self._found(work.parcel.batch, self._results(work, checked_faces))
            return self._spread(work, self._results(work, checked_fields))

    def _results(self, work: Work, check: Callable[[Node, Batch, Any], Checked]) -> list[Checked]:
        results = []
        for chunk in work.chunks:
            with self._named("post_process", chunk.batch):
                result = self.node.post_process(chunk.batch, chunk.value)
                results.append(check(self.node, chunk.batch, result))
        return results

    def run(self, parcel: Parcel) -> Result:
        """All three phases in the calling thread."""
        return self.post(self.process(self.pre(parcel)))

    def _count(self, batch: Batch) -> int:
        return len(batch.frames) if self.node.unit == "frame" else len(batch.faces)

    def _usable(self, batch: Batch) -> NDArray[np.bool_]:
        if self.node.unit == "frame":
            refuse_cuts(self.node, batch)
            return batch.frames.readable
        if not len(batch.faces):
            return np.zeros(0, np.bool_)
        usable = self.node.usable(batch.faces)
        return (
            usable & batch.frames.readable[batch.frame_rows] if self.node.needs_frames else usable
        )

    def _take(self, batch: Batch, rows: NDArray[np.int64]) -> Batch:
        if self.node.unit == "face":
            return batch.take_faces(rows)
        return Batch(batch.frames.take(rows), FaceBatch.empty(()), batch.min_score)

    def _pieces(self, batch: Batch) -> Iterator[Batch]:
        count, limit = self._count(batch), self.limit
        if 0 < count <= limit:
            yield batch
            return
        for start in range(0, count, limit):
            yield self._take(batch, np.arange(start, min(start + limit, count)))

    def _prepared(self, piece: Batch) -> Chunk:
        with self._named("pre_process", piece):
            return Chunk(piece, self.node.pre_process(piece))

    def _attempt(self, chunk: Chunk) -> list[Chunk]:
        count = self._count(chunk.batch)
        if count <= self.limit and self._processed(chunk):
            return [chunk]
        if count <= self.limit:  # it did not fit: halve, and remember for what follows
            self._limits[self.node.id] = max(1, count // 2)
        pieces = list(self._pieces(chunk.batch))
        return [done for piece in pieces for done in self._attempt(self._prepared(piece))]

    def _processed(self, chunk: Chunk) -> bool:
        """Whether the network ran; False where memory ran out and a smaller piece may fit."""
        with self._named("process", chunk.batch), torch.inference_mode():
            try:
                chunk.value = self.node.process(chunk.value)
            except (MemoryError, RuntimeError) as error:
                if not memory_ran_out(error) or self._count(chunk.batch) == 1:
                    raise
                chunk.value = None
            else:
                return True
        if self.node.device.type == "cuda":
            torch.cuda.empty_cache()
        return False

    def _found(self, batch: Batch, results: list[FaceBatch]) -> FaceBatch:
        """Faces above the threshold, frame by frame, the surest first."""
        if not results:
            return FaceBatch(
                np.zeros(0, np.int64),
                {name: self._absent(name, 0) for name in self.node.provides},
            )
        faces = FaceBatch.concat(results)
        kept = np.flatnonzero(faces.score >= batch.min_score)
        order = np.lexsort((-faces.score[kept], faces.frame_uid[kept]))
        return faces[kept[order]]

    def _spread(self, work: Work, results: list[dict[str, NDArray[Any]]]) -> Result:
        """Values of all faces of the parcel; NaN for those that the node was not shown."""
        count = len(work.parcel.batch.faces)
        spread = {}
        for name in self.node.provides:
            parts = [result[name] for result in results]
            values = np.concatenate(parts) if len(parts) > 1 else parts[0] if parts else None
            if values is not None:
                self._rest[name] = values.shape[1:], values.dtype
            if values is None or len(values) < count:
                full = self._absent(name, count)
                if values is not None:
                    full[work.rows] = values
                values = full
            spread[name] = values
        return spread

    def _absent(self, name: str, count: int) -> NDArray[Any]:
        """Values of faces that a node was not shown, see :func:`featflow.flow.batch.absent`."""
        shape, dtype = self._rest.get(name, (self.node.shape_of(name), np.dtype(np.float32)))
        if shape is None:
            if count:
                raise NodeError(
                    f"{self.node.id} was shown none of {count} faces and does not declare the "
                    f"shape of {name!r}; add it to the node's shapes"
                )
            shape = ()
        return absent(name, count, shape, dtype)

    @contextmanager
    def _named(self, phase: str, batch: Batch) -> Iterator[None]:
        """Give an exception the name of the node, the phase and the inputs."""
        try:
            yield
        except FeatflowError as error:
            error.add_note(f"in {self.node.id}.{phase}, working on {describe(batch)}")
            raise
        except Exception as error:
            raise NodeError(
                f"{self.node.id}.{phase} raised {type(error).__name__}: {error} "
                f"(working on {describe(batch)})"
            ) from error


def memory_ran_out(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, of the process or of the device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return "out of memory" in str(error).lower() or "can't allocate memory" in str(error).lower()
