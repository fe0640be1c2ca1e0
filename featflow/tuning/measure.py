"""Running nodes for a while on made-up input: rows a second, and memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Barrier, BrokenBarrierError, Thread
from typing import TYPE_CHECKING, Any

import torch

from featflow.errors import FeatflowError, NodeError
from featflow.flow.node import Node
from featflow.flow.stage import memory_ran_out
from featflow.tuning.search import Sizes, Trial
from featflow.tuning.warmup import sample_of

if TYPE_CHECKING:
    from featflow.tuning.profile import Effort

GPU_SHARE = 0.85
"""Part of a GPU's memory that a profile leaves room in, where no limit is given."""

_STATM = Path("/proc/self/statm")


class Bench:
    """Measures combinations of batch sizes.

    Args:
        nodes: loaded nodes, all on one device.
        effort: how long, and with what.
        clock: gives seconds.
    """

    def __init__(self, nodes: Sequence[Node], effort: Effort, clock: Callable[[], float]) -> None:
        self.nodes = list(nodes)
        self.device = nodes[0].device.type
        self._effort = effort
        self._clock = clock

    @property
    def limit_bytes(self) -> int | None:
        """Most memory that a trial may use."""
        if self._effort.limit_bytes is not None or self.device != "cuda":
            return self._effort.limit_bytes
        total = torch.cuda.get_device_properties(self.nodes[0].device).total_memory
        return int(GPU_SHARE * total)

    def trial(self, sizes: Sizes) -> Trial:
        """One combination; one that does not fit into memory has no figures.

        Raises:
            NodeError: a node fails for another reason.
        """
        self._start_memory()
        try:
            runs = [_Run(node, sizes[node.id], self) for node in self.nodes]
            if self.device == "cuda":
                _together(runs)
            else:
                for run in runs:
                    run.measure()
        except Exception as error:
            if not memory_ran_out(error):
                raise
            self._free()
            return Trial(dict(sizes), {}, self._memory())
        frames = {run.node.id: run.rows_s / self._rows_per_frame(run.node) for run in runs}
        return Trial(dict(sizes), frames, self._memory())

    def run_for(self, seconds: float, step: Callable[[], object]) -> tuple[int, float]:
        """Repeat a step for some seconds, at least once; how often, and how long it took."""
        count, began = 0, self._clock()
        while True:
            step()
            count += 1
            passed = self._clock() - began
            if passed >= seconds:
                return count, passed

    def sample(self, node: Node, size: int) -> Any:
        """What a node's network sees: a made-up batch, prepared."""
        batch = sample_of(node, size, self._effort.frame_size, self.nodes)
        return node.pre_process(batch)

    @property
    def seconds(self) -> float:
        """How long a trial is timed."""
        return self._effort.seconds

    def wait(self) -> None:
        """Wait until the device has done what it was given."""
        if self.device == "cuda":
            torch.cuda.synchronize(self.nodes[0].device)

    def _rows_per_frame(self, node: Node) -> float:
        return 1.0 if node.unit == "frame" else self._effort.faces_per_frame

    def _start_memory(self) -> None:
        if self.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.nodes[0].device)

    def _memory(self) -> int:
        if self.device == "cuda":
            return int(torch.cuda.max_memory_reserved(self.nodes[0].device))
        return resident_bytes()

    def _free(self) -> None:
        if self.device == "cuda":
            torch.cuda.empty_cache()


class _Run:
    """One node at one batch size."""

    def __init__(self, node: Node, size: int, bench: Bench) -> None:
        self.node = node
        self.rows_s = 0.0
        self._size = size
        self._bench = bench

    def measure(self, ready: Callable[[], object] = bool) -> None:
        """Warm up, then count for the bench's seconds."""
        bench = self._bench
        try:
            prepared = bench.sample(self.node, self._size)
            with torch.inference_mode():
                bench.run_for(bench.seconds / 4, lambda: self.node.process(prepared))
                ready()
                count, seconds = bench.run_for(bench.seconds, lambda: self._step(prepared))
        except (FeatflowError, BrokenBarrierError):
            raise
        except Exception as error:
            if memory_ran_out(error):
                raise
            told = f"{type(error).__name__}: {error}"
            raise NodeError(f"{self.node.id} fails on made-up input: {told}") from error
        self.rows_s = count * self._size / seconds

    def _step(self, prepared: Any) -> None:
        self.node.process(prepared)
        self._bench.wait()


def _together(runs: Sequence[_Run]) -> None:
    """All at the same time; the first error that is not another one's echo is raised."""
    barrier = Barrier(len(runs))
    errors: list[BaseException] = []

    def work(run: _Run) -> None:
        try:
            run.measure(barrier.wait)
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)
            barrier.abort()

    threads = [Thread(target=work, args=(run,), name=f"profile {run.node.id}") for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        if not isinstance(error, BrokenBarrierError):
            raise error


def resident_bytes() -> int:
    """Memory of this process; 0 where the system does not tell."""
    if not _STATM.is_file():
        return 0
    import resource

    pages = int(_STATM.read_text().split()[1])
    return pages * resource.getpagesize() if sys.platform != "win32" else 0
