"""A run in threads: one that decodes, one that batches and crops a level, three a node.

Threads hand parcels on through short channels; the budget of frames in flight is kept by
one ledger, and only the thread that decodes waits on it. The caller's thread takes finished
frames out, and it alone watches for errors and stalls, so that no thread outlives it.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from threading import Thread
from time import monotonic, perf_counter
from typing import Any

from featflow.errors import StalledError
from featflow.flow.batch import Batch
from featflow.flow.clock import Clock
from featflow.flow.plan import Level
from featflow.flow.queues import Channel, Control, Ledger, Stopped
from featflow.flow.rebatch import END, Assembler, Feeder, Parcel, Signal
from featflow.flow.stage import NodeStage, Result, Work

_CHANNEL_ITEMS = 2
_JOIN_SECONDS = {True: 0.5, False: 5.0}
"""How long leaving waits for a thread that is inside a call it cannot be woken from: short
after an error, which the caller should see at once."""

Done = tuple[Parcel, Result]
_log = logging.getLogger(__name__)


class ThreadedRun:
    """One run of a flow in threads.

    Args:
        levels: stages in order.
        make_feeder: builds the feeder, given the function that admits a frame.
        max_bytes, max_frames: budget of frames in flight.
        stall_seconds: see :class:`featflow.flow.runner.Flow`.
        patient: the source may be silent for as long as it likes; only a stage that stays in
            one call is a stall.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        make_feeder: Callable[[Callable[[int], None]], Feeder],
        max_bytes: int,
        max_frames: int,
        stall_seconds: float | None,
        patient: bool = False,
    ) -> None:
        self._levels = levels
        self._patient = patient
        self._stall_seconds = stall_seconds
        self._control = Control()
        # What follows keeps no reference to the run itself: pictures that are still in it when
        # a caller leaves are freed at once, not when the garbage collector comes by.
        self._ledger = ledger = Ledger(max_bytes, max_frames, self._control)
        self._feeder = make_feeder(ledger.acquire)
        self._channels: list[Channel[Any]] = []
        self._threads: list[Thread] = []
        self._ends = self._wire()
        self._pid = os.getpid()

    def batches(self) -> Iterator[Batch]:
        """Whole frames in input order; leaving early ends every thread."""
        assembler = Assembler()
        try:
            for thread in self._threads:
                thread.start()
            while (waiting := self._next_batches(assembler)) is not None:
                while waiting:
                    # Popped in the call: nothing here keeps a batch that the caller dropped.
                    yield self._off_budget(waiting.pop(0))
        except Stopped:
            pass
        finally:
            self.stop()
        error, self._control.error = self._control.error, None
        try:
            if error is not None:
                raise error
        finally:
            del error

    def stop(self) -> None:
        """End all threads and wait for them."""
        if os.getpid() != self._pid:  # a fork has the object but not its threads
            return
        self._control.stop()
        until = monotonic() + _JOIN_SECONDS[self._control.error is not None]
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, until - monotonic()))
        busy = [thread.name for thread in self._threads if thread.is_alive()]
        if busy:
            _log.warning("still inside a call, will end after it: %s", ", ".join(busy))
        self._threads.clear()
        # The traceback of an error leads to the channels for as long as someone keeps it.
        for channel in self._channels:
            channel.clear()

    def _next_batches(self, assembler: Assembler) -> list[Batch] | None:
        """Frames that became complete; None at the end."""
        item = self._joined(len(self._levels), [self._watched_get(end) for end in self._ends])
        if isinstance(item, Signal):
            return None if item is END else []
        return assembler.push(item)

    def _off_budget(self, batch: Batch) -> Batch:
        dropped = any(level.drops_images for level in self._levels)
        self._ledger.release(0 if dropped else batch.frames.nbytes, len(batch.frames))
        return batch

    # --- wiring -------------------------------------------------------------------------

    def _wire(self) -> list[Channel[Any]]:
        """Make every channel and thread; return the channels that end the flow."""
        start: Channel[Parcel | Signal] = self._channel("decode > flow")
        self._thread("decode", self._feed, start)
        ends = [start]
        for at, level in enumerate(self._levels):
            inlets = ends
            if level.rebatcher is not None:
                inlets = [self._channel(f"> {stage.node.id}.pre") for stage in level.stages]
                self._thread(f"batch {at}", self._deal, at, ends, inlets)
            ends = [
                self._node(stage, inlet) for stage, inlet in zip(level.stages, inlets, strict=True)
            ]
        return ends

    def _node(self, stage: NodeStage, inlet: Channel[Any]) -> Channel[Any]:
        name = stage.node.id
        ready: Channel[Any] = self._channel(f"{name}.pre > process")
        raw: Channel[Any] = self._channel(f"{name}.process > post")
        done: Channel[Any] = self._channel(f"{name}.post >")

        def finish(work: Work) -> Done:
            return work.parcel, stage.post(work)

        self._thread(f"{name}.pre", _pipe, inlet, ready, stage.pre)
        self._thread(f"{name}.process", _pipe, ready, raw, stage.process)
        self._thread(f"{name}.post", _pipe, raw, done, finish)
        return done

    def _channel(self, name: str) -> Channel[Any]:
        channel: Channel[Any] = Channel(name, _CHANNEL_ITEMS, self._control)
        self._channels.append(channel)
        return channel

    def _thread(self, name: str, body: Callable[..., None], *args: Any) -> None:
        def run() -> None:
            try:
                body(*args)
            except Stopped:
                pass
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                self._control.fail(error)

        self._threads.append(Thread(target=run, name=f"featflow {name}", daemon=True))

    # --- what the threads do ------------------------------------------------------------

    def _feed(self, start: Channel[Parcel | Signal]) -> None:
        try:
            # map() keeps no reference to a parcel once it has been put.
            for _ in map(start.put, self._feeder.items()):
                pass
        finally:
            self._feeder.close()

    def _deal(self, at: int, ends: list[Channel[Any]], inlets: list[Channel[Any]]) -> None:
        """Join what the level before made, batch it anew, hand it to each node of this one."""
        while self._deal_one(at, ends, inlets):
            pass

    def _deal_one(self, at: int, ends: list[Channel[Any]], inlets: list[Channel[Any]]) -> bool:
        item = self._joined(at, [end.get() for end in ends])
        level = self._levels[at]
        ready = level.flush() if isinstance(item, Signal) else level.push(item)
        for parcel in [*ready, item] if isinstance(item, Signal) else ready:
            for inlet in inlets:
                inlet.put(parcel)
        return item is not END

    def _joined(self, at: int, items: list[Any]) -> Parcel | Signal:
        """One parcel from the outputs of all nodes of level ``at - 1``, which keep step."""
        first: Parcel | Signal | Done = items[0]
        if isinstance(first, (Signal, Parcel)):
            return first
        results = [result for _, result in items]
        return self._levels[at - 1].join(first[0], results, self._ledger.release)

    # --- the caller's side --------------------------------------------------------------

    def _watched_get(self, channel: Channel[Any]) -> Any:
        """Wait for an item, and look at the stages each time the wait grows too long."""
        if self._stall_seconds is None:
            return channel.get()
        before, began = self._progress(), perf_counter()
        while True:
            try:
                return channel.get(self._stall_seconds)
            except TimeoutError:
                self._stop_if_stalled(before == self._progress(), began)
                before = self._progress()

    def _stop_if_stalled(self, no_progress: bool, began: float) -> None:
        assert self._stall_seconds is not None  # noqa: S101 - narrows the type
        now = perf_counter()
        watched = self.clocks[1:] if self._patient else self.clocks  # the first is the source
        busy, name = max((now - (clock.since or now), clock.name) for clock in watched)
        if busy < self._stall_seconds and (self._patient or not no_progress):
            return
        name = name if busy > 0 else "no stage is busy"
        self._control.fail(StalledError(self._report(name, max(busy, perf_counter() - began))))
        raise Stopped

    @property
    def clocks(self) -> list[Clock]:
        """Clocks of all stages."""
        stages = [stage for level in self._levels for stage in level.stages]
        crops = [level.clock for level in self._levels]
        return [self._feeder.clock, *crops, *(clock for each in stages for clock in each.clocks)]

    def _progress(self) -> int:
        return sum(clock.calls for clock in self.clocks)

    def _report(self, name: str, seconds: float) -> str:
        depths = "\n".join(f"  {channel.name}: {len(channel)}" for channel in self._channels)
        frames = sys._current_frames()
        stacks = "\n".join(
            f"  {thread.name}\n{''.join(traceback.format_stack(frames[thread.ident]))}"
            for thread in self._threads
            if thread.ident in frames
        )
        held = f"{self._ledger.frames} frames, {self._ledger.nbytes} bytes in flight"
        return (
            f"no progress for {seconds:.1f} s: {name} ({held})\n"
            f"items waiting:\n{depths}\nthreads:\n{stacks}"
        )


def _pipe(source: Channel[Any], sink: Channel[Any], step: Callable[[Any], Any]) -> None:
    while _pipe_one(source, sink, step):
        pass


def _pipe_one(source: Channel[Any], sink: Channel[Any], step: Callable[[Any], Any]) -> bool:
    # A call of its own an item: nothing keeps the last item alive while waiting for the next.
    item = source.get()
    sink.put(item if isinstance(item, Signal) else step(item))
    return item is not END
