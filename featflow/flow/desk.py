"""What a session shares with the thread that takes finished batches out of its run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Thread, current_thread
from typing import Any, Literal

from featflow.datasets.frame import Frame
from featflow.flow.batch import Batch
from featflow.flow.queues import Mailbox, Stopped
from featflow.flow.rebatch import END, FrameSource, Signal

Item = Sequence[Frame] | Batch

_JOIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Engine:
    """What a session asks of its flow: a run, one frame at once, one node at once."""

    run: Callable[[FrameSource], Generator[Batch]]
    run_now: Callable[[Item], Batch]
    run_node: Callable[[str, Batch], Batch]


@dataclass(slots=True)
class Desk:
    """What a session and its thread share; a session that is dropped can be collected.

    Attributes:
        inbox: what was put, on its way into the run.
        outbox: batches that are finished.
        frames_in, frames_out: frames put and frames finished.
        error: what ended the run, until it is raised.
        failure: the same in words.
        pid: the process that has the thread.
    """

    inbox: Mailbox[Item | Signal]
    outbox: Mailbox[Batch | Signal]
    frames_in: int = 0
    frames_out: int = 0
    error: BaseException | None = None
    failure: str = ""
    pid: int = field(default_factory=os.getpid)

    def received(self) -> Iterator[Item | Literal[Signal.FLUSH]]:
        """What was put: the source of the run."""
        while (item := self._next()) is not END:
            yield item

    def _next(self) -> Any:
        try:
            return self.inbox.get()
        except Stopped:
            # A run takes Stopped for its own; this one tells it that its caller has left.
            raise _CallerLeftError from None

    def finished(self, batch: Batch) -> None:
        """Keep a batch for the caller, waiting where too many wait already."""
        self.frames_out += len(batch.frames)
        self.outbox.put(batch, batch.frames.nbytes)


class _CallerLeftError(Exception):
    """The session was closed; not an error of the run."""


def collect(desk: Desk, run: Callable[[FrameSource], Generator[Batch]]) -> None:
    """Take finished batches out of the run until it ends."""
    batches = run(desk.received())
    try:
        # map() keeps no reference to a batch once the caller has it.
        for _ in map(desk.finished, batches):
            pass
    except (Stopped, _CallerLeftError):
        pass
    except BaseException as error:  # noqa: BLE001 - raised again where the session is iterated
        desk.error, desk.failure = error, f"{type(error).__name__}: {error}"
    finally:
        batches.close()
        desk.inbox.close()
    with contextlib.suppress(Stopped):
        desk.outbox.signal(END)


def leave(desk: Desk, thread: Thread) -> None:
    """End the run and its threads; what is in flight is lost."""
    if os.getpid() != desk.pid:  # a fork has the object but not its thread
        return
    desk.inbox.close()
    desk.outbox.close()
    if thread is not current_thread():
        thread.join(_JOIN_SECONDS)
