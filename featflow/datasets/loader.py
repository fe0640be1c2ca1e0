"""Frames in batches, decoded here or in worker processes, always in input order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from featflow.datasets.decoders import ClipReport
from featflow.datasets.frame import Frame
from featflow.datasets.inputs import FileInput
from featflow.datasets.options import ReadOptions
from featflow.datasets.source import Source
from featflow.errors import OptionError

_CHUNK_BYTES = 32 * 2**20
_CONTEXTS = ("fork", "spawn", "forkserver")


@dataclass(frozen=True, slots=True)
class _EndOfInput:
    """Closes the frames of one input in the stream of a worker."""


_Event = Frame | ClipReport | _EndOfInput


class _FileShare(IterableDataset[list[_Event]]):
    """One worker's files, read in order, sent in chunks bounded in frames and in bytes."""

    def __init__(self, files: list[FileInput], options: ReadOptions, chunk: int) -> None:
        self.files = files
        self.options = options
        self.chunk = chunk

    def __iter__(self) -> Iterator[list[_Event]]:
        chunk: list[_Event] = []
        size = 0
        for event in self._events():
            chunk.append(event)
            size += event.nbytes if isinstance(event, Frame) else 0
            if len(chunk) >= self.chunk or size >= _CHUNK_BYTES:
                yield chunk
                chunk, size = [], 0
        if chunk:
            yield chunk

    def _events(self) -> Iterator[_Event]:
        for file in self.files:
            yield from file.read(self.options)
            yield _EndOfInput()


def frame_batches(
    source: Source,
    batch_size: int,
    num_workers: int = 0,
    multiprocessing_context: str | None = None,
) -> Iterator[list[Frame]]:
    """Frames of a source in lists of ``batch_size``; the last may be shorter.

    The frames and their order do not depend on the number of workers. Files are dealt out to
    the workers in turn, whole; a decoder is opened in the process that uses it. Arrays and
    iterators stay in this process.

    Args:
        source: what to read; its ``reports`` are filled as the batches come.
        batch_size: frames a batch.
        num_workers: processes that decode; 0 decodes here, as the caller iterates.
        multiprocessing_context: ``"fork"``, ``"spawn"`` or ``"forkserver"``; None takes the
            platform's default.

    Raises:
        OptionError: a number or the context is out of range.
        InputError: an iterator among the inputs was read already.
    """
    if batch_size < 1 or num_workers < 0:
        raise OptionError(
            f"batch_size must be 1 or more and num_workers 0 or more, got {batch_size} "
            f"and {num_workers}"
        )
    if multiprocessing_context not in (None, *_CONTEXTS):
        raise OptionError(
            f"multiprocessing_context must be one of {', '.join(_CONTEXTS)} or None, "
            f"got {multiprocessing_context!r}"
        )
    if num_workers == 0:
        return _batched(source, batch_size)
    frames = _from_workers(source, batch_size, num_workers, multiprocessing_context)
    return _batched(frames, batch_size)


def _batched(frames: Iterable[Frame], batch_size: int) -> Iterator[list[Frame]]:
    batch: list[Frame] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == batch_size:
            yield batch
            batch = []
    if batch:
        yield batch


def _from_workers(
    source: Source, chunk: int, num_workers: int, context: str | None
) -> Iterator[Frame]:
    """Read each input from the worker that has it, so that order needs no sorting.

    Every worker runs ahead by a few chunks at most, however long the inputs are.
    """
    source.restart()
    files = [single for single in source.inputs if isinstance(single, FileInput)]
    count = min(num_workers, len(files))
    streams = [
        _start_worker(files[first::count], source.options, chunk, context) for first in range(count)
    ]
    turn = 0
    for single in source.inputs:
        events: Iterator[Any] = iter(single.read(source.options))
        if isinstance(single, FileInput):
            events, turn = _one_input(streams[turn]), (turn + 1) % count
        for event in events:
            if isinstance(event, ClipReport):
                source.reports.append(event)
            else:
                yield event


def _one_input(stream: Iterator[_Event]) -> Iterator[Frame | ClipReport]:
    for event in stream:
        if isinstance(event, _EndOfInput):
            return
        yield event


def _start_worker(
    files: list[FileInput], options: ReadOptions, chunk: int, context: str | None
) -> Iterator[_Event]:
    loader: DataLoader[list[_Event]] = DataLoader(
        _FileShare(files, options, chunk),
        batch_size=None,
        num_workers=1,
        multiprocessing_context=context,
        # Without one of its own the loader draws a seed from the process's generator.
        generator=torch.Generator(),
    )
    running = iter(loader)  # the process starts here, before its first chunk is wanted
    return (event for events in running for event in events)
