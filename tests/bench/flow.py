"""``python -m tests.bench.flow``: what the engine itself costs, and what its threads bring.

Without arguments: 10,000 frames through three nodes that do nothing, memory on the way, and what
is left behind when a caller leaves half-way. ``--detector`` runs the default detector in threads
and in sequence, on the clip as it is and on one whose decoding is about a third of the work.
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np

from featflow.datasets.frame import Frame
from featflow.flow import Flow, Node
from featflow.flow.batch import Batch, FaceBatch
from featflow.tuning.measure import resident_bytes
from tests.bench import clips
from tests.bench.measure import THREADS, in_own_process

Mode = Literal["threads", "sequential"]
MODES: tuple[Mode, ...] = ("sequential", "threads")
FRAMES = 10_000
BATCH = 8
THIRD = 1 / 3


class OneFace(Node):
    """The whole frame is a face."""

    kind, name, unit = "face", "noop", "frame"
    provides = ("box", "score")

    def pre_process(self, batch: Batch) -> Any:
        """How many frames there are."""
        return len(batch.frames)

    def process(self, inputs: Any) -> Any:
        """Nothing."""
        return inputs

    def post_process(self, batch: Batch, outputs: Any) -> FaceBatch:
        """One box a frame."""
        fields = {"box": np.ones((outputs, 4), np.float32), "score": np.ones(outputs, np.float32)}
        return FaceBatch(batch.frames.uids.copy(), fields)


class Nothing(Node):
    """One zero a face."""

    kind, unit = "toy", "face"

    def __init__(self, name: str, *requires: str) -> None:
        super().__init__()
        self.name, self.requires, self.provides = name, ("box", *requires), (name,)
        self.shapes = {name: ()}

    def pre_process(self, batch: Batch) -> Any:
        """How many faces there are."""
        return len(batch.faces)

    def process(self, inputs: Any) -> Any:
        """Nothing."""
        return inputs

    def post_process(self, batch: Batch, outputs: Any) -> dict[str, np.ndarray]:
        """Zeros."""
        return {self.name: np.zeros(outputs, np.float32)}


def noop_flow(mode: Mode) -> Flow:
    """Three nodes, one after the other."""
    return Flow([OneFace(), Nothing("a"), Nothing("b", "a")], mode=mode)


def source(count: int) -> Iterator[list[Frame]]:
    """Frames of 64 x 48 pixels, each with a picture of its own, eight at a time."""
    for start in range(0, count, 8):
        yield [
            Frame(np.zeros((48, 64, 3), np.uint8), "made up", i, i / 25, (48, 64))
            for i in range(start, min(start + 8, count))
        ]


def overhead() -> None:
    """Milliseconds a frame beyond making the frames, and memory."""
    started = time.perf_counter()
    for _ in source(FRAMES):
        pass
    making = (time.perf_counter() - started) / FRAMES * 1e3
    print(f"{FRAMES} frames, three nodes that do nothing; making a frame takes {making:.4f} ms")
    print("mode         ms a frame   processor ms   MB at 2,000   MB at the end")
    for mode in MODES:
        flow = noop_flow(mode)
        for _ in flow.run(source(800)):
            pass
        cells = [_timed(flow) for _ in range(3)]
        wall, cpu, early, late = min(cells)
        row = f"{wall - making:10.4f}   {cpu - making:12.4f}   {early:11.1f}   {late:13.1f}"
        print(f"{mode:12s} {row}", flush=True)


def _timed(flow: Flow) -> tuple[float, float, float, float]:
    seen, early = 0, 0.0
    wall, cpu = time.perf_counter(), time.process_time()
    for batch in flow.run(source(FRAMES)):
        seen += len(batch.frames)
        if not early and seen >= FRAMES // 5:
            early = resident_bytes() / 1e6
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert seen == FRAMES
    return wall / FRAMES * 1e3, cpu / FRAMES * 1e3, early, resident_bytes() / 1e6


def abandoned() -> None:
    """Threads and files after an iterator was left half-way, twenty times."""
    before = _held()
    for mode in MODES:
        for _ in range(10):
            out = noop_flow(mode).run(_with_a_file())
            for _ in range(20):
                next(out)
            del out
            gc.collect()
    threads, files = (now - then for now, then in zip(_held(), before, strict=True))
    print(f"left half-way 20 times: {threads} threads and {files} files remain")


def _with_a_file() -> Iterator[list[Frame]]:
    with open(__file__):
        yield from source(FRAMES)


def _held() -> tuple[int, int]:
    return threading.active_count(), len(os.listdir("/proc/self/fd"))


def detectors(repeats: int, threads: int) -> None:
    """The default detector both ways, each run in a process of its own."""
    print(f"torch uses {threads} threads; median of {repeats} runs, milliseconds a frame")
    with tempfile.TemporaryDirectory() as folder:
        plain = clips.one_face()
        _print_modes(f"{plain.name} as it is", _both(plain, repeats, threads))
        clip = heavier(Path(folder), threads)
        _print_modes(f"{plain.name} as {clip.stem}", _both(clip, repeats, threads))


def _both(clip: Path, repeats: int, threads: int) -> dict[Mode, dict[str, Any]]:
    return {m: in_own_process("detect", clip, BATCH, repeats, "all", m, threads) for m in MODES}


def heavier(folder: Path, threads: int) -> Path:
    """The clip enlarged until decoding is about a third of the work in sequence."""
    best, distance = clips.one_face(), 1.0
    for scale in (2, 3, 4, 5, 6):
        clip = enlarged(folder, scale)
        run = in_own_process("detect", clip, BATCH, 1, "all", "sequential", threads)
        part = run["stages"]["decode"] / run["ms"]
        if abs(part - THIRD) < distance:
            best, distance = clip, abs(part - THIRD)
        if part > THIRD:
            break
    return best


def enlarged(folder: Path, scale: int) -> Path:
    """The clip with pictures ``scale`` times as large."""
    target = folder / f"larger-{scale}.mp4"
    with av.open(str(clips.one_face())) as file, av.open(str(target), "w") as out:
        stream = file.streams.video[0]
        new = out.add_stream("libx264", rate=stream.average_rate, options={"preset": "veryfast"})
        new.width, new.height, new.pix_fmt = stream.width * scale, stream.height * scale, "yuv420p"
        for frame in file.decode(stream):
            out.mux(new.encode(frame.reformat(new.width, new.height, "yuv420p")))
        out.mux(new.encode())
    return target


def _print_modes(title: str, runs: dict[Mode, dict[str, Any]]) -> None:
    print(f"\n{title}\n{'stage (busy time)':28s}" + "".join(f"{mode:>12s}" for mode in runs))
    for stage in next(iter(runs.values()))["stages"]:
        cells = [run["stages"].get(stage, 0.0) for run in runs.values()]
        if max(cells) >= 0.05:
            print(f"{stage:28s}" + "".join(f"{cell:12.2f}" for cell in cells))
    for label, key in (("wall clock, median", "ms"), ("wall clock, best run", "best_ms")):
        print(f"{label:28s}" + "".join(f"{run[key]:12.2f}" for run in runs.values()))
    sequential, threads = (runs[mode] for mode in MODES)
    part = sequential["stages"]["decode"] / sequential["ms"]
    gain = sequential["ms"] / threads["ms"]
    print(
        f"decoding is {part:.2f} of the sequential run; threads are {gain:.2f} times as fast",
        flush=True,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--detector", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=THREADS, help="threads of torch")
    arguments = parser.parse_args()
    if arguments.detector:
        detectors(arguments.repeats, arguments.threads)
    else:
        overhead()
        abandoned()


if __name__ == "__main__":
    main()
