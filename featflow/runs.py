"""One run of a detector: frames in, pieces of the table out, kept as they are finished.

Frames are counted over all inputs and cut into pieces of a fixed number. The flow is flushed
between pieces, so what a piece holds depends on its own frames alone: a run that was
interrupted and resumed gives the same bytes as one that was not.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from featflow.datasets import frame_batches, open_source
from featflow.datasets.frame import Frame
from featflow.errors import FeatflowError, OptionError
from featflow.fex.build import UNREADABLE, empty_fex, fex_from_batches
from featflow.fex.table import Fex
from featflow.fex.writer import FexWriter
from featflow.flow import FLUSH, Flow
from featflow.flow.batch import Batch

if TYPE_CHECKING:
    from featflow.datasets import Source
    from featflow.flow.node import Node
    from featflow.identity.naming import Naming

OnError = Literal["raise", "row", "skip"]

PIECE_FRAMES = 256
"""Frames in a piece: a few seconds of work, which is what a crash can cost."""

DEFAULT_BATCH = 8


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Arguments of :meth:`featflow.Detector.detect` that shape a run; see there."""

    batch_size: int | None = None
    num_workers: int = 0
    face_detection_threshold: float = 0.5
    skip_frames: int | None = None
    output_size: int | None = None
    start: float | None = None
    stop: float | None = None
    on_error: OnError = "raise"
    live: bool = False

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise OptionError(f"batch_size must be at least 1, got {self.batch_size}")
        if self.num_workers < 0:
            raise OptionError(f"num_workers must be 0 or more, got {self.num_workers}")
        if not 0 < self.face_detection_threshold <= 1:
            raise OptionError(
                f"face_detection_threshold must be above 0 and at most 1, "
                f"got {self.face_detection_threshold}"
            )
        if self.on_error not in ("raise", "row", "skip"):
            raise OptionError(f"on_error is 'raise', 'row' or 'skip', got {self.on_error!r}")

    @property
    def frames(self) -> int:
        """Frames at a time."""
        return self.batch_size or DEFAULT_BATCH

    def recorded(self) -> dict[str, Any]:
        """What is written down with the table: all that may change a value or a row."""
        return {k: v for k, v in asdict(self).items() if k not in ("num_workers", "live")}


@dataclass
class Run:
    """A flow over inputs.

    Args:
        nodes: loaded nodes.
        inputs: see :meth:`featflow.Detector.detect`.
        options: how to run.
        meta: metadata of the detector; the options are added.
        mode: see :class:`featflow.flow.Flow`.
        batch_sizes: rows at a time by node id, where not the node's own; those of ``options``
            come first.
        naming: gives faces their people once all rows are there, and marks those not wanted.

    Attributes:
        failures: inputs that could not be read, as far as the run has come.
        frames_done: frames whose rows are finished.
    """

    nodes: Sequence[Node]
    inputs: Any
    options: RunOptions
    meta: dict[str, Any]
    mode: Literal["threads", "sequential"] = "threads"
    batch_sizes: Mapping[str, int] = field(default_factory=dict)
    naming: Naming | None = None
    failures: list[FeatflowError] = field(default_factory=list)
    frames_done: int = 0
    _table_seconds: float = field(default=0.0, repr=False)
    _tick: Callable[[float], object] = field(default=float, repr=False)

    def __post_init__(self) -> None:
        o = self.options
        self.source: Source = open_source(
            self.inputs,
            skip_frames=o.skip_frames,
            start=o.start,
            stop=o.stop,
            output_size=o.output_size,
        )
        self.meta = {**self.meta, "options": {**self.meta.get("options", {}), **o.recorded()}}
        self.fields = {name for node in self.nodes for name in node.provides}
        sizes = [n.shape_of("embedding") for n in self.nodes if "embedding" in n.provides]
        self.embedding_size = sizes[0][0] if sizes and sizes[0] else 0
        self.flow = Flow(
            list(self.nodes),
            mode=self.mode,
            frame_batch=self.frames_at_a_time,
            face_batch=self.batch_sizes or None,
            min_score=o.face_detection_threshold,
            stall_seconds=None if o.live else 300.0,
        )

    @property
    def frames_at_a_time(self) -> int:
        """Frames that the detector sees at one time."""
        finders = [node.id for node in self.nodes if node.unit == "frame"]
        found = [self.batch_sizes[name] for name in finders if name in self.batch_sizes]
        return self.options.batch_size or (found[0] if found else DEFAULT_BATCH)

    @property
    def timings(self) -> dict[str, float]:
        """Seconds that each stage was busy: those of the flow, and ``table``."""
        return {**self.flow.timings, "table": self._table_seconds}

    def batches(self) -> Generator[Batch]:
        """Frames and faces with all fields that the nodes gave, masks included."""
        with closing(self.flow.run(self._frames())) as finished:
            yield from finished

    def tables(self) -> Iterator[Fex]:
        """Rows of each batch as it is finished, for input that may never end."""
        with closing(self.batches()) as finished:
            for batch in finished:
                rows = self._rows([batch])
                yield rows if self.naming is None else self.naming.live(rows)

    def pieces(self, done: Iterable[int] = ()) -> Iterator[tuple[int, Fex]]:
        """Finished pieces in order, with their numbers.

        Args:
            done: pieces that are there already: decoded past, not computed.

        Raises:
            FeatflowError: what went wrong; the rows of the unfinished piece are in its ``rows``.
        """
        skip = frozenset(done)
        numbers = (n for n in range(sys.maxsize) if n not in skip)
        number, waiting, count = next(numbers), list[Batch](), 0
        with closing(self.flow.run(self._stream(skip))) as finished:
            try:
                for batch in finished:
                    waiting.append(batch)
                    count += len(batch.frames)
                    self._tick(len(batch.frames))
                    if count >= PIECE_FRAMES:
                        yield number, self._rows(waiting)
                        number, waiting, count = next(numbers), [], 0
            except FeatflowError as error:
                if waiting and error.rows is None:
                    error.rows = self._built(waiting)
                raise
        if waiting:
            yield number, self._rows(waiting)

    def _frames(self) -> Iterator[list[Frame]]:
        """Decoded frames; failures are noted here, where resumed pieces come past too."""
        options = self.options
        for frames in frame_batches(self.source, self.frames_at_a_time, options.num_workers):
            self.failures.extend(frame.error for frame in frames if frame.error is not None)
            yield frames

    def _stream(self, skip: frozenset[int]) -> Iterator[Any]:
        """Lists of frames, FLUSH after each piece, pieces in ``skip`` left out."""
        position = 0
        for frames in self._frames():
            for number, part in _cut(frames, position):
                if number not in skip:
                    yield part
                position += len(part)
                if position % PIECE_FRAMES == 0:
                    yield FLUSH

    def _rows(self, batches: list[Batch]) -> Fex:
        """Table rows of finished batches, by the rule of ``on_error``."""
        if self.options.on_error == "raise":
            self._raise_first_error(batches)
        started = time.perf_counter()
        fex = self._built(batches)
        self._table_seconds += time.perf_counter() - started
        self.frames_done += sum(len(batch.frames) for batch in batches)
        if self.options.on_error == "skip":
            return fex[~fex["FilterReason"].str.startswith(UNREADABLE)]
        return fex

    def _built(self, batches: list[Batch]) -> Fex:
        size = self.embedding_size
        return fex_from_batches(batches, self.meta, fields=self.fields, embedding_size=size)

    def _empty(self, meta: Mapping[str, Any]) -> Fex:
        return empty_fex(self.fields, meta, embedding_size=self.embedding_size)

    def _raise_first_error(self, batches: list[Batch]) -> None:
        for at, batch in enumerate(batches):
            for row, error in enumerate(batch.frames.errors):
                if error is None:
                    continue
                before = [*batches[:at], *([_first_frames(batch, row)] if row else [])]
                if before:
                    error.rows = self._built(before)
                raise error

    def table(
        self, save: str | Path | None = None, resume: bool = False, progress_bar: bool = True
    ) -> Fex:
        """Run to the end and return the whole table, saved piece by piece if asked."""
        if save is None:
            if resume:
                raise OptionError("resume=True needs save=, the file of the interrupted run")
            return self._gather({}, self._shown(self.pieces(), progress_bar))
        with self._writer(save, resume) as writer:
            kept = {number: writer.read(number) for number in writer.finished_pieces}
            fex = self._gather(kept, self._written(writer, progress_bar))
            writer.finish(fex.meta, None if self.naming is None else self.naming.labels_of(fex))
        return fex

    def save(self, path: str | Path, resume: bool = False, progress_bar: bool = True) -> int:
        """Run to the end into a file without holding the table; returns the number of rows."""
        with self._writer(path, resume) as writer:
            rows = sum(len(writer.read(number)) for number in writer.finished_pieces)
            rows += sum(len(piece) for _, piece in self._written(writer, progress_bar))
            meta = self._closing_meta()
            if self.naming is None:
                writer.finish(meta)
            else:
                named = self.naming.of_pieces(map(writer.read, writer.finished_pieces), meta)
                writer.finish(named.meta, self.naming.labels_of(named))
        return rows

    def _writer(self, path: str | Path, resume: bool) -> FexWriter:
        return FexWriter(path, self.meta, resume=resume, inputs=self.source.names)

    def _written(self, writer: FexWriter, progress_bar: bool) -> Iterator[tuple[int, Fex]]:
        """Write the pieces that are not there yet, at least one, and pass them on."""
        for number, piece in self._shown(self.pieces(writer.finished_pieces), progress_bar):
            writer.add(number, piece)
            yield number, piece
        if not writer.finished_pieces:
            writer.add(0, self._empty(self.meta))

    def _gather(self, kept: Mapping[int, Fex], fresh: Iterable[tuple[int, Fex]]) -> Fex:
        pieces = dict(kept)
        try:
            pieces.update(fresh)
        except FeatflowError as error:
            _prepend_rows(error, [pieces[number] for number in sorted(pieces)])
            raise
        if pieces:
            fex = Fex(pd.concat([pieces[number] for number in sorted(pieces)], ignore_index=True))
            fex.meta = self._closing_meta()
        else:
            fex = self._empty(self._closing_meta())
        return fex if self.naming is None else self.naming(fex)

    def _closing_meta(self) -> dict[str, Any]:
        """Metadata with what is known only at the end: how each clip and failure ended."""
        clips = [asdict(report) for report in self.source.reports]
        errors = [
            {"input": _name(e), "error": type(e).__name__, "reason": str(e)} for e in self.failures
        ]
        return {**self.meta, "clips": clips, "errors": errors}

    def _shown(
        self, pieces: Iterable[tuple[int, Fex]], progress_bar: bool
    ) -> Iterator[tuple[int, Fex]]:
        from tqdm.auto import tqdm

        hidden = hides_progress(progress_bar)
        with tqdm(total=self.source.n_frames_hint, unit="frame", disable=hidden) as bar:
            self._tick = bar.update
            yield from pieces
            bar.total = bar.n  # a clip's header may promise frames that are not there


def _cut(frames: list[Frame], position: int) -> Iterator[tuple[int, list[Frame]]]:
    """Split a list where a piece ends; ``position`` is the number of its first frame."""
    while frames:
        room = PIECE_FRAMES - position % PIECE_FRAMES
        part, frames = frames[:room], frames[room:]
        yield position // PIECE_FRAMES, part
        position += len(part)


def _first_frames(batch: Batch, count: int) -> Batch:
    frames = batch.frames[:count]
    return Batch(frames, batch.faces[np.isin(batch.faces.frame_uid, frames.uids)])


def _prepend_rows(error: FeatflowError, before: list[Fex]) -> None:
    parts = [*before, *([error.rows] if error.rows is not None else [])]
    if parts:
        error.rows = Fex(pd.concat(parts, ignore_index=True))


def _name(error: FeatflowError) -> str:
    return str(getattr(error, "source", ""))


def hides_progress(progress_bar: bool) -> bool:
    """Whether no bar is shown: nobody wants one, or nobody is there to see it."""
    return not (progress_bar and (sys.stderr.isatty() or _in_notebook()))


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")
    return shell is not None and shell.get_ipython() is not None
