"""Which batch sizes to try next: the search of the profiler, without a clock or a device.

All nodes begin at 1. Each round doubles the batch of the node that gets through the fewest
frames a second, for that node holds up the others. Where a trial does not fit into memory, the
search goes back and adds half of the last step, then a quarter, and so on down to 4. The best
trial is the one whose slowest node is fastest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

Sizes = dict[str, int]

SMALLEST_STEP = 4
"""No smaller step is tried."""

PATIENCE = 3
"""Rounds without a gain of :data:`GAIN` after which the search ends: a CPU, and a GPU that is
full, get through no more with a larger batch."""

GAIN = 1.02


@dataclass(frozen=True, slots=True)
class Trial:
    """One combination of batch sizes and how it went.

    Attributes:
        sizes: node id to batch size.
        frames_s: node id to frames a second: rows a second, and for nodes that see faces
            these over the faces a frame. Empty where the trial did not fit into memory.
        memory_bytes: largest memory in use; 0 where unknown.
    """

    sizes: Sizes
    frames_s: Mapping[str, float] = field(default_factory=dict)
    memory_bytes: int = 0

    @property
    def fitted(self) -> bool:
        """Whether it ran."""
        return bool(self.frames_s)

    @property
    def slowest(self) -> str:
        """The node with the least throughput."""
        return min(self.frames_s, key=lambda node: self.frames_s[node])

    @property
    def least(self) -> float:
        """Frames a second of the slowest node; 0 where the trial did not fit."""
        return min(self.frames_s.values()) if self.frames_s else 0.0


class BatchSearch:
    """Proposes combinations of batch sizes until no larger one helps.

    Args:
        nodes: node ids.
        largest: no batch grows beyond this.
        limit_bytes: a trial that used more counts as one that did not fit; None for no limit.

    Attributes:
        trials: what was tried, in order.
    """

    def __init__(
        self, nodes: Sequence[str], largest: int = 256, limit_bytes: int | None = None
    ) -> None:
        self.trials: list[Trial] = []
        self._next: Sizes | None = dict.fromkeys(nodes, 1)
        self._largest = largest
        self._limit = limit_bytes
        self._base: Sizes = {}
        self._grown = ""
        self._step = 0
        self._narrowing = False
        self._full: set[str] = set()
        self._since_gain = 0

    @property
    def sizes(self) -> Sizes | None:
        """What to try next; None at the end."""
        return None if self._next is None else dict(self._next)

    @property
    def best(self) -> Trial | None:
        """The trial with the fastest slowest node; of equals the one with the least memory."""
        fitted = [trial for trial in self.trials if trial.fitted]
        return max(
            fitted, key=lambda trial: (trial.least, -sum(trial.sizes.values())), default=None
        )

    def record(self, trial: Trial) -> None:
        """Take in how a trial went, and choose the next one."""
        over = self._limit is not None and trial.memory_bytes > self._limit
        if over:
            trial = Trial(trial.sizes, {}, trial.memory_bytes)
        before = self.best.least if self.best is not None else 0.0
        self.trials.append(trial)
        if not trial.fitted:
            self._narrow()
            return
        self._base = dict(trial.sizes)
        self._since_gain = 0 if trial.least > before * GAIN else self._since_gain + 1
        if self._narrowing and trial.slowest == self._grown:
            self._narrow()
        elif trial.slowest in self._full or self._since_gain >= PATIENCE:
            self._next = None
        else:
            self._double(trial.slowest)

    def _double(self, node: str) -> None:
        if self._narrowing:
            self._full.add(self._grown)
        size = self._base[node]
        self._grown, self._step, self._narrowing = node, min(size, self._largest - size), False
        self._next = self._grow() if self._step > 0 else None

    def _narrow(self) -> None:
        """Half the step, from what fitted last."""
        self._step //= 2
        self._narrowing = True
        self._next = self._grow() if self._step >= SMALLEST_STEP else None

    def _grow(self) -> Sizes:
        return {**self._base, self._grown: self._base[self._grown] + self._step}


def search(search_: BatchSearch, measure: Callable[[Sizes], Trial]) -> BatchSearch:
    """Run a search to its end."""
    while (sizes := search_.sizes) is not None:
        search_.record(measure(sizes))
    return search_
