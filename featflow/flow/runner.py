"""``Flow``: nodes put in order and run over a stream of frames."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Literal

from featflow.datasets.frame import Frame
from featflow.errors import OptionError, SessionError, UnmetNeedsError
from featflow.flow.batch import Batch
from featflow.flow.clock import Clock
from featflow.flow.desk import Engine
from featflow.flow.graph import needs, order_nodes
from featflow.flow.node import Node
from featflow.flow.plan import Level, make_levels
from featflow.flow.rebatch import END, Assembler, Feeder, FrameSource, Parcel, Signal
from featflow.flow.session import Session
from featflow.flow.threads import ThreadedRun


class Flow:
    """Nodes in the order of their needs, and a way to run them.

    A flow keeps nothing between runs except the batch sizes that fitted into memory. Runs one
    after the other are independent; so are two flows of different nodes at the same time.

    Args:
        nodes: nodes in any order.
        mode: ``"threads"`` overlaps decoding and the phases of all nodes; ``"sequential"``
            does the same work, in the same batches, in the caller's thread.
        queue_bytes: pictures in flight, bytes; passed by one frame at most.
        frame_batch: frames that a frame node sees at one time.
        face_batch: faces that a face node sees at one time; one number for all nodes, or by
            node id; where it says nothing, the node's own ``batch_size``.
        min_score: faces with a lower detector score are dropped; those with exactly this
            score are kept.
        stall_seconds: a stage that stays in one call longer than this while the caller waits
            is an error; None waits for ever (for live sources).
        keep_images: leave the pictures in the batches that come out.
        given: fields of faces that come with the frames, in place of a detector; the source
            then gives batches, and their faces are neither sorted nor held to ``min_score``.

    Raises:
        UnmetNeedsError: a node requires a field that no other provides.
        OptionError: an argument is out of range, or two nodes provide the same field.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        *,
        mode: Literal["threads", "sequential"] = "threads",
        queue_bytes: int = 256_000_000,
        frame_batch: int = 8,
        face_batch: int | Mapping[str, int] | None = None,
        min_score: float = 0.5,
        stall_seconds: float | None = 300.0,
        keep_images: bool = False,
        given: Sequence[str] = (),
    ) -> None:
        self.levels = order_nodes(nodes, given)
        self._given = tuple(given)
        self._mode = mode
        self._queue_bytes = queue_bytes
        self._frame_batch = frame_batch
        self._face_batch = face_batch
        self._min_score = min_score
        self._stall_seconds = stall_seconds
        self._keep_images = keep_images
        self._limits: dict[str, int] = {}
        self._clocks: list[Clock] = []
        self._session: weakref.ref[Session] | None = None
        self._check()

    @property
    def nodes(self) -> list[Node]:
        """Nodes in the order in which they run."""
        return [node for level in self.levels for node in level]

    def __repr__(self) -> str:
        return f"Flow({' > '.join(' | '.join(node.id for node in level) for level in self.levels)})"

    @property
    def timings(self) -> dict[str, float]:
        """Seconds that each stage of the last run was busy.

        ``decode``, ``crops``, and ``<node id>.pre``, ``.process`` and ``.post``. In threads
        stages overlap, so that the sum may exceed the time that passed.
        """
        seconds: dict[str, float] = {}
        for clock in self._clocks:
            seconds[clock.name] = seconds.get(clock.name, 0.0) + clock.seconds
        return seconds

    def run(self, frames: FrameSource) -> Generator[Batch]:
        """Run the nodes over frames.

        Decoding runs in a thread of the engine, so that a caller that only iterates cannot
        deadlock. Leaving the iterator early ends all threads and closes ``frames`` if it is a
        generator.

        Args:
            frames: lists of frames, of any length; :data:`FLUSH` between two lists keeps
                frames before and after it out of each other's batches. Where faces are
                ``given``, batches in place of lists.

        Yields:
            Whole frames with all their faces, in input order, a batch at a time.

        Raises:
            FeatflowError: what a node or the source raised.
            NodeError: a node raised something else, which is the ``__cause__``, or broke its
                contract.
            StalledError: a stage made no progress for ``stall_seconds``.
        """
        yield from self._run(frames, patient=False)

    def open(self) -> Session:
        """Run the nodes by hand: frames are put in one by one, batches taken out.

        A flow has one open session at a time. Weights are read now.

        Raises:
            SessionError: a session of this flow is still open.
        """
        before = self._session() if self._session is not None else None
        if before is not None and not before.ended:
            raise SessionError(f"{self!r} has an open session; stop() or close() that one first")
        self._load()
        work = Engine(
            run=lambda frames: self._run(frames, patient=True),
            run_now=self._run_now,
            run_node=self._run_node,
        )
        patience = None if self._stall_seconds is None else 2 * self._stall_seconds
        session = Session(work, self._given, self._frame_batch, self._queue_bytes, patience)
        self._session = weakref.ref(session)
        return session

    def _load(self) -> None:
        for node in self.nodes:
            node.load(node.device)

    def _run(self, frames: FrameSource, patient: bool) -> Generator[Batch]:
        self._load()
        levels = self._make_levels()
        if self._mode == "sequential" or not levels:
            yield from self._run_sequential(levels, frames)
            return

        def make_feeder(admit: Callable[[int], None]) -> Feeder:
            return self._make_feeder(frames, admit)

        depth = self._frame_batch * (4 + 8 * len(levels))
        held = sum(self._hold_frames(self._level_size(level)) for level in self.levels)
        threaded = ThreadedRun(
            levels, make_feeder, self._queue_bytes, depth + held, self._stall_seconds, patient
        )
        self._clocks = threaded.clocks
        yield from threaded.batches()

    def _run_sequential(self, levels: list[Level], frames: FrameSource) -> Iterator[Batch]:
        feeder = self._make_feeder(frames, lambda _: None)
        stages = [stage for level in levels for stage in level.stages]
        self._clocks = [feeder.clock, *(level.clock for level in levels)]
        self._clocks += [clock for stage in stages for clock in stage.clocks]
        try:
            for batch in _assembled(levels, feeder.items()):
                if not levels and not self._keep_images:
                    batch = batch.released(images=True, keep_crops=())
                yield batch
        finally:
            feeder.close()

    def _run_now(self, item: Sequence[Frame] | Batch) -> Batch:
        """One frame through all nodes, in the caller's thread."""
        clocks = self._clocks  # those of the run beside which this one is answered
        try:
            return Batch.concat(list(self._run_sequential(self._make_levels(), [item])))
        finally:
            self._clocks = clocks

    def _run_node(self, node_id: str, batch: Batch) -> Batch:
        """One node on one batch, in the caller's thread."""
        named = {node.id: node for node in self.nodes}
        if node_id not in named:
            raise OptionError(f"this flow has no node {node_id!r}; its nodes: {', '.join(named)}")
        node = named[node_id]
        missing = sorted(set(needs(node)) - batch.faces.fields.keys())
        if missing:
            raise UnmetNeedsError(f"{node_id} needs {missing}, which the faces given do not have")
        levels = self._make_levels([[node]], keep_images=True)
        return Batch.concat(list(_assembled(levels, [Parcel(batch), END])))

    def _make_feeder(self, frames: FrameSource, admit: Callable[[int], None]) -> Feeder:
        return Feeder(
            frames, self._frame_batch, self._hold_bytes, self._min_score, self._given, admit
        )

    def _make_levels(
        self, order: Sequence[Sequence[Node]] | None = None, keep_images: bool = False
    ) -> list[Level]:
        return make_levels(
            self.levels if order is None else order,
            self._size_of,
            self._hold_frames,
            self._hold_bytes,
            self._limits,
            self._keep_images or keep_images,
        )

    def _size_of(self, node: Node) -> int:
        if node.unit == "frame":
            return self._frame_batch
        if isinstance(self._face_batch, Mapping):
            return self._face_batch.get(node.id, node.batch_size)
        return self._face_batch or node.batch_size

    def _level_size(self, level: Sequence[Node]) -> int:
        return max(self._size_of(node) for node in level)

    def _hold_frames(self, size: int) -> int:
        return 2 * max(size, self._frame_batch)

    @property
    def _hold_bytes(self) -> int:
        # All levels and the feeder may hold this much at once and still leave half the budget,
        # so that the feeder is never kept waiting by what waits for it.
        return self._queue_bytes // (2 * (len(self.levels) + 1))

    def _check(self) -> None:
        if self._mode not in ("threads", "sequential"):
            raise OptionError(f"mode must be 'threads' or 'sequential', got {self._mode!r}")
        if self._queue_bytes < 1:
            raise OptionError(f"queue_bytes must be positive, got {self._queue_bytes}")
        if self._stall_seconds is not None and not self._stall_seconds > 0:
            raise OptionError(f"stall_seconds must be positive, got {self._stall_seconds}")
        if isinstance(self._face_batch, Mapping):
            strangers = self._face_batch.keys() - {node.id for node in self.nodes}
            if strangers:
                raise OptionError(f"face_batch names {sorted(strangers)}; this flow has {self!r}")
        if self._frame_batch < 1 or any(self._size_of(node) < 1 for node in self.nodes):
            raise OptionError("batch sizes must be at least 1")
        for node in self.nodes:
            if node.unit == "frame" and not {"box", "score"} <= set(node.provides):
                raise OptionError(f"{node.id} finds faces and must provide 'box' and 'score'")


def _assembled(levels: Sequence[Level], items: Iterable[Parcel | Signal]) -> Iterator[Batch]:
    """Take a stream through all levels in this thread; whole frames come out."""
    assembler = Assembler()
    for item in items:
        for parcel in _through(levels, item):
            yield from assembler.push(parcel)


def _through(levels: Sequence[Level], item: Parcel | Signal) -> Iterator[Parcel]:
    """Take a parcel, or a signal, through all levels in this thread."""
    if not levels:
        if isinstance(item, Parcel):
            yield item
        return
    level = levels[0]
    for ready in level.flush() if isinstance(item, Signal) else level.push(item):
        results = [stage.run(ready) for stage in level.stages]
        yield from _through(levels[1:], level.join(ready, results, lambda _: None))
    if isinstance(item, Signal):
        yield from _through(levels[1:], item)
