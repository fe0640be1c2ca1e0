"""Bounded channels between threads, the budget of frames in flight, and how all of it stops."""

from __future__ import annotations

import sys
from collections import deque
from threading import Condition, Lock
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Stopped(Exception):
    """The run has ended, by itself or by an error elsewhere; a waiting thread leaves."""


class Control:
    """The state that the threads of one run share: whether to stop, and why."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: list[Condition] = []
        self.stopped = False
        self.error: BaseException | None = None

    def condition(self) -> Condition:
        """A condition whose waiters wake when the run stops."""
        made = Condition(Lock())
        self._waiting.append(made)
        return made

    def fail(self, error: BaseException) -> None:
        """Stop the run because of an error; the first one is kept."""
        with self._lock:
            if self.error is None and not self.stopped:
                self.error = error
        self.stop()

    def stop(self) -> None:
        """Wake every waiting thread; each finds :class:`Stopped`."""
        with self._lock:
            self.stopped = True
        for condition in self._waiting:
            with condition:
                condition.notify_all()


class Channel(Generic[Item]):
    """A first-in first-out queue of at most ``capacity`` items between two threads."""

    def __init__(self, name: str, capacity: int, control: Control) -> None:
        self.name = name
        self._capacity = capacity
        self._control = control
        self._items: deque[Item] = deque()
        self._changed = control.condition()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> None:
        """Append, waiting for room.

        Raises:
            Stopped: the run has ended.
        """
        with self._changed:
            while len(self._items) >= self._capacity and not self._control.stopped:
                self._changed.wait()
            self._leave_if_stopped()
            self._items.append(item)
            self._changed.notify()

    def get(self, timeout: float | None = None) -> Item:
        """Take the oldest item, waiting for one.

        Raises:
            Stopped: the run has ended.
            TimeoutError: nothing came within ``timeout`` seconds.
        """
        with self._changed:
            while not self._items and not self._control.stopped:
                if not self._changed.wait(timeout):
                    raise TimeoutError
            self._leave_if_stopped()
            # One thread puts and one gets, and they never wait at once: notify wakes the other.
            self._changed.notify()
            return self._items.popleft()

    def clear(self) -> None:
        """Let go of what nobody will take any more."""
        with self._changed:
            self._items.clear()

    def _leave_if_stopped(self) -> None:
        if self._control.stopped:
            raise Stopped


class Ledger:
    """The budget of a whole flow: bytes of pictures and number of frames in flight.

    A frame is let in while the budget is not used up, so that it can be passed by at most
    one frame, and a frame larger than the whole budget still gets through.
    """

    def __init__(self, max_bytes: int, max_frames: int, control: Control) -> None:
        self._max_bytes = max_bytes
        self._max_frames = max_frames
        self._control = control
        self._room = control.condition()
        self.nbytes = 0
        self.frames = 0

    def acquire(self, nbytes: int, timeout: float | None = None) -> None:
        """Let one frame in, waiting until there is room.

        Raises:
            Stopped: the run has ended.
            TimeoutError: nothing left for ``timeout`` seconds.
        """
        with self._room:
            while (
                self.nbytes >= self._max_bytes or self.frames >= self._max_frames
            ) and not self._control.stopped:
                if not self._room.wait(timeout):
                    raise TimeoutError
            if self._control.stopped:
                raise Stopped
            self.nbytes += nbytes
            self.frames += 1

    def release(self, nbytes: int = 0, frames: int = 0) -> None:
        """Give back what left the flow."""
        with self._room:
            self.nbytes -= nbytes
            self.frames -= frames
            self._room.notify()


class Mailbox(Generic[Item]):
    """A queue between a run and its caller, bounded by what the items weigh.

    Args:
        name: what passes through.
        max_bytes, max_items: bound of what waits; passed by one item at most.
    """

    def __init__(self, name: str, max_bytes: int, max_items: int) -> None:
        self._control = Control()
        self._room = Ledger(max_bytes, max_items, self._control)
        self._items: Channel[tuple[Item, int | None]] = Channel(name, sys.maxsize, self._control)

    def put(self, item: Item, nbytes: int, timeout: float | None = None) -> None:
        """Append, waiting for room.

        Raises:
            Stopped: the mailbox is closed.
            TimeoutError: nothing was taken for ``timeout`` seconds.
        """
        self._room.acquire(nbytes, timeout)
        self._items.put((item, nbytes))

    def signal(self, item: Item) -> None:
        """Append something that weighs nothing, and never wait."""
        self._items.put((item, None))

    def get(self) -> Item:
        """Take the oldest item, waiting for one.

        Raises:
            Stopped: the mailbox is closed.
        """
        item, nbytes = self._items.get()
        if nbytes is not None:
            self._room.release(nbytes, 1)
        return item

    def close(self) -> None:
        """Wake whoever waits, and let go of what nobody will take any more."""
        self._control.stop()
        self._items.clear()
