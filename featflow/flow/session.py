"""A flow run by hand: frames are put in, batches are taken out.

A session feeds the very run that :meth:`featflow.flow.Flow.run` makes. One thread of its own
takes finished batches out of that run, so that a caller who puts and takes in one thread
cannot lock itself out.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from featflow.datasets.arrays import frames_of
from featflow.datasets.frame import Frame
from featflow.errors import ArrayError, OptionError, SchemaError, SessionError, StalledError
from featflow.flow.batch import Batch, FaceBatch, FrameBatch
from featflow.flow.desk import Desk, Engine, Item, collect, leave
from featflow.flow.queues import Mailbox, Stopped
from featflow.flow.rebatch import END, FLUSH, Signal

Faces = FaceBatch | Mapping[str, NDArray[Any]]
"""Faces of one frame: a field to its array, one row a face."""

_FINISHED_BATCHES = 1024


class Session:
    """An open run of a flow; :meth:`featflow.flow.Flow.open` makes it.

    Frames are batched as in :meth:`featflow.flow.Flow.run`, so they come out when their batch
    is full, after :meth:`flush`, or after :meth:`stop`. Iterating gives batches of whole frames
    in the order in which they were put, and waits for more until the session is stopped.
    Putting and iterating may be done in one thread, or in two. Leaving the ``with`` block ends
    every thread; what was not taken is lost.

    Example:
        >>> with flow.open() as session:
        ...     for name, image in pictures:
        ...         session.put(name, image)
        ...     session.stop()
        ...     for batch in session:
        ...         print(batch.faces.box)

    An error of a node or of the engine ends this session alone. It is raised where the session
    is iterated, after the batches that were finished before it.
    """

    def __init__(
        self,
        engine: Engine,
        given: Sequence[str],
        frame_batch: int,
        queue_bytes: int,
        patience: float | None,
    ) -> None:
        self._engine = engine
        self._given = tuple(given)
        self._patience = patience
        self._putting = Lock()
        self._taking = Lock()
        self._taken = 0
        self._stopped = False
        self._at_end = False
        self._desk = Desk(
            Mailbox("put", max(1, queue_bytes // 8), frame_batch),
            Mailbox("finished", queue_bytes, _FINISHED_BATCHES),
        )
        thread = Thread(
            target=collect, args=(self._desk, engine.run), name="featflow session", daemon=True
        )
        self._close = weakref.finalize(self, leave, self._desk, thread)
        thread.start()

    def __repr__(self) -> str:
        state = "ended" if self.ended else "stopped" if self._stopped else "open"
        return f"Session({state}, {self.in_flight} frames in flight)"

    def __enter__(self) -> Session:
        self._refuse_if_closed()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def ended(self) -> bool:
        """Whether nothing more will come out."""
        return self._at_end or not self._close.alive

    @property
    def in_flight(self) -> int:
        """Frames that were put and are not finished."""
        return max(0, self._desk.frames_in - self._desk.frames_out)

    # --- putting ------------------------------------------------------------------------

    @overload
    def put(
        self, name: str, image: Any, faces: Faces | None = ..., *, passthrough: Literal[False] = ...
    ) -> None: ...

    @overload
    def put(
        self, name: str, image: Any, faces: Faces | None = ..., *, passthrough: Literal[True]
    ) -> Batch: ...

    def put(
        self, name: str, image: Any, faces: Faces | None = None, *, passthrough: bool = False
    ) -> Batch | None:
        """Put one picture.

        Args:
            name: what to call it.
            image: numpy (H, W, 3) uint8 RGB, a torch tensor (3, H, W) or a PIL image.
            faces: see :meth:`put_frame`.
            passthrough: see :meth:`put_frame`.

        Raises:
            ArrayError: ``image`` is not one picture.
        """
        frames = list(frames_of(image, name))
        if len(frames) != 1:
            raise ArrayError(name, f"holds {len(frames)} pictures", "put one at a time")
        if frames[0].error is not None:
            raise frames[0].error
        return self._put(frames[0], faces, passthrough)

    @overload
    def put_frame(
        self, frame: Frame, faces: Faces | None = ..., *, passthrough: Literal[False] = ...
    ) -> None: ...

    @overload
    def put_frame(
        self, frame: Frame, faces: Faces | None = ..., *, passthrough: Literal[True]
    ) -> Batch: ...

    def put_frame(
        self, frame: Frame, faces: Faces | None = None, *, passthrough: bool = False
    ) -> Batch | None:
        """Put one frame.

        Args:
            frame: the frame; one that could not be read keeps its place.
            faces: its faces, where the flow was made with ``given``; ``{}`` for none.
            passthrough: answer now: run this frame alone, in this thread, and return its
                batch. It takes no part in the stream. Nothing else may be in flight.

        Returns:
            The batch of this frame if ``passthrough``, otherwise None.

        Raises:
            SessionError: the session was stopped or closed, an error ended it, or a frame is
                in flight beside a ``passthrough``.
            OptionError: faces are missing, or not wanted.
            SchemaError: the fields of ``faces`` have different numbers of rows.
            StalledError: there was no room for so long that nobody can be taking batches. The
                frame was not taken; the session goes on.
        """
        if not isinstance(frame, Frame):
            raise OptionError(f"put_frame takes a Frame, got {type(frame).__name__}; see put")
        return self._put(frame, faces, passthrough)

    def put_direct(self, node_id: str, batch: Batch | Frame, faces: Faces | None = None) -> Batch:
        """Run one node of the flow now, in this thread, on frames whose faces you give.

        Args:
            node_id: a node of the flow, ``"kind/name"``.
            batch: frames with faces, or one frame.
            faces: faces of the one frame; none for a node that finds them.

        Returns:
            The same frames and faces with what the node provides. Pictures stay.

        Raises:
            OptionError: the flow has no such node, or ``faces`` come with a batch.
            UnmetNeedsError: the faces lack a field that the node requires.
            SessionError: frames are in flight, or the session has ended.
        """
        if isinstance(batch, Batch):
            if faces is not None:
                raise OptionError("put_direct takes faces with a Frame; a Batch has its own")
            whole = batch
        else:
            whole = _batch_of(batch, faces if faces is not None else {})
        with self._putting:
            self._refuse_if_busy()
            return self._engine.run_node(node_id, whole)

    def flush(self) -> None:
        """Push what was put so far through every node, without waiting for it."""
        with self._putting:
            self._refuse_if_stopped()
            self._signal(FLUSH)

    def stop(self) -> None:
        """Say that nothing more will be put; iteration ends after what is on its way."""
        with self._putting:
            if not (self._stopped or self.ended or self._desk.failure):
                self._signal(END)
            self._stopped = True

    def close(self) -> None:
        """End every thread now; what is in flight is lost. Closing again does nothing."""
        self._close()

    # --- taking -------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if not self._taking.acquire(blocking=False):
            raise SessionError("another thread is taking from this session; it has one end")
        try:
            return self._take()
        finally:
            self._taking.release()

    def drain(self) -> list[Batch]:
        """Flush, and take all that was put so far."""
        until = self._desk.frames_in
        try:
            self.flush()
        except SessionError:
            if not (self._stopped or self._desk.failure):
                raise
        batches: list[Batch] = []
        while self._taken < until and (batch := next(self, None)) is not None:
            batches.append(batch)
        return batches

    def _take(self) -> Batch:
        if self._at_end:
            raise StopIteration
        self._refuse_if_closed()
        try:
            item = self._desk.outbox.get()
        except Stopped:
            raise SessionError("the session was closed while another thread waited") from None
        if isinstance(item, Batch):
            self._taken += len(item.frames)
            return item
        self._at_end = True
        # Let go of: its traceback leads to this session, and to the batch that failed.
        error, self._desk.error = self._desk.error, None
        if error is not None:
            raise error
        raise StopIteration

    # --- checks -------------------------------------------------------------------------

    def _put(self, frame: Frame, faces: Faces | None, passthrough: bool) -> Batch | None:
        item = self._item(frame, faces)
        with self._putting:
            if passthrough:
                self._refuse_if_busy()
                return self._engine.run_now(item)
            self._refuse_if_stopped()
            try:
                self._desk.inbox.put(item, frame.nbytes, self._patience)
            except Stopped:
                raise self._ended_error() from self._desk.error
            except TimeoutError:
                raise StalledError(
                    f"no room for {self._patience} s: {self.in_flight} frames are in flight and "
                    f"nobody takes what is finished; iterate between puts, or in another thread"
                ) from None
            self._desk.frames_in += 1
        return None

    def _item(self, frame: Frame, faces: Faces | None) -> Item:
        if self._given and faces is None:
            raise OptionError(
                f"{frame.source}: this flow reads faces with {sorted(self._given)}; "
                f"give them, or {{}} for a frame without a face"
            )
        if not self._given and faces is not None:
            raise OptionError(
                f"{frame.source}: faces are given, but this flow finds its own; make it with "
                f"given= the fields that you bring"
            )
        return [frame] if faces is None else _batch_of(frame, faces or FaceBatch.empty(self._given))

    def _signal(self, signal: Signal) -> None:
        try:
            self._desk.inbox.signal(signal)
        except Stopped:
            raise self._ended_error() from self._desk.error

    def _ended_error(self) -> SessionError:
        told = self._desk.failure or "it was closed"
        return SessionError(f"the session has ended ({told}); open another")

    def _refuse_if_closed(self) -> None:
        if not self._close.alive:
            raise SessionError("the session is closed; open another")

    def _refuse_if_stopped(self) -> None:
        self._refuse_if_closed()
        if self._stopped:
            raise SessionError("the session was stopped: nothing more can be put; open another")

    def _refuse_if_busy(self) -> None:
        self._refuse_if_stopped()
        if self._desk.failure:
            raise self._ended_error() from self._desk.error
        if self.in_flight:
            raise SessionError(
                f"{self.in_flight} frames are in flight, and a node does one thing at a time; "
                f"drain() the session first"
            )


def _batch_of(frame: Frame, faces: Faces) -> Batch:
    """One frame with the faces that the caller found in it."""
    fields = faces.fields if isinstance(faces, FaceBatch) else dict(faces)
    counts = {name: len(values) for name, values in fields.items()}
    if len(set(counts.values())) > 1:
        raise SchemaError(f"{frame.source}: the fields of its faces differ in length: {counts}")
    uids = np.zeros(next(iter(counts.values()), 0), np.int64)
    arrays = {name: np.asarray(values) for name, values in fields.items()}
    return Batch(FrameBatch.from_frames([frame]), FaceBatch(uids, arrays))
