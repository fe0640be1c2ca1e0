"""How long each stage of a flow has been busy."""

from __future__ import annotations

from time import perf_counter
from types import TracebackType


class Clock:
    """Adds up the time spent inside ``with clock:``; for one thread at a time.

    Attributes:
        name: stage that is timed.
        seconds: time spent so far.
        since: when the call now in progress began (``perf_counter``); None between calls.
        calls: calls finished.
    """

    __slots__ = ("calls", "name", "seconds", "since")

    def __init__(self, name: str) -> None:
        self.name = name
        self.seconds = 0.0
        self.since: float | None = None
        self.calls = 0

    def __enter__(self) -> None:
        self.since = perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.since is not None:
            self.seconds += perf_counter() - self.since
        self.since = None
        self.calls += 1
