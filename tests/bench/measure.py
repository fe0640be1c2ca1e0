"""One measurement in a process of its own, so that peak memory is its own too."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

from tests.bench import clips

THREADS = 2

SPINE = {"face": "tiny", "landmark": "tiny", "pose": "mlp"}
"""What every other node builds on."""


def in_own_process(task: str, *arguments: object) -> dict[str, Any]:
    """Run one of this module's tasks in a fresh interpreter and return what it measured."""
    command = [sys.executable, "-m", "tests.bench.measure", task, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def peak_mb() -> float:
    """Largest resident memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def detect(
    path: str,
    batch: str,
    repeats: str,
    nodes: str = "all",
    mode: str = "threads",
    threads: str = str(THREADS),
) -> dict[str, Any]:
    """Median time a frame over repeated runs on one clip, by stage; nodes "all" or "spine"."""
    import torch

    from featflow import Detector
    from featflow.runs import RunOptions

    torch.set_num_threads(int(threads))
    named = {} if nodes == "all" else SPINE
    make = Detector if nodes == "all" else Detector.only
    detector = make(**named, device="cpu", mode=cast("Any", mode))
    detector.detect(path, batch_size=int(batch), progress_bar=False)  # warm-up
    runs = []
    for _ in range(int(repeats)):
        run = detector.run(path, RunOptions(batch_size=int(batch)))
        started = time.perf_counter()
        rows = run.table(progress_bar=False)
        seconds = time.perf_counter() - started
        frames = run.frames_done
        stages = {name: s / frames * 1e3 for name, s in run.timings.items()}
        runs.append((seconds / frames * 1e3, frames, len(rows), stages))
    runs.sort(key=lambda entry: entry[0])
    ms, frames, rows, stages = runs[len(runs) // 2]
    return {
        "ms": ms,
        "best_ms": runs[0][0],
        "frames": frames,
        "rows": rows,
        "stages": stages,
        "peak_mb": peak_mb(),
    }


def long_run(frames: str, folder: str) -> dict[str, Any]:
    """Memory and time a frame along a long clip that repeats the sample, saved as it goes."""
    import torch

    from featflow import Detector
    from featflow.runs import RunOptions

    torch.set_num_threads(THREADS)
    path = clips.looped(Path(folder), int(frames))
    run = Detector(device="cpu").run(str(path), RunOptions(batch_size=8))
    started = time.perf_counter()
    marks = [(0, 0.0)]
    rows = 0
    for _, piece in run.pieces():
        rows += len(piece)
        marks.append((run.frames_done, time.perf_counter() - started))
    first, last = _speed(marks[1 : len(marks) // 4 + 2]), _speed(marks[-len(marks) // 4 :])
    return {
        "frames": run.frames_done,
        "rows": rows,
        "ms": marks[-1][1] / run.frames_done * 1e3,
        "ms_first_quarter": first,
        "ms_last_quarter": last,
        "peak_mb": peak_mb(),
    }


def _speed(marks: list[tuple[int, float]]) -> float:
    if len(marks) < 2 or marks[-1][0] == marks[0][0]:
        return float("nan")
    return (marks[-1][1] - marks[0][1]) / (marks[-1][0] - marks[0][0]) * 1e3


if __name__ == "__main__":
    tasks = {"detect": detect, "long_run": long_run}
    print(json.dumps(tasks[sys.argv[1]](*sys.argv[2:])))
