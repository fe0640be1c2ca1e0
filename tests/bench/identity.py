"""``python -m tests.bench.identity``: time and memory of clustering many embeddings.

Each figure comes from a process of its own. Wall time depends on what else the machine does.
Processor time does not with ``--threads 1``; with more, threads that wait for each other count too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time

import numpy as np

from tests.bench.measure import THREADS, peak_mb

LIBRARIES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def planted(faces: int, people: int, size: int, alike: float) -> np.ndarray:
    """Float32 embeddings in which two faces of one person have cosine ``alike`` on average."""
    draw = np.random.default_rng(0)
    centres = draw.standard_normal((people, size), np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    who = draw.integers(0, people, faces)
    vectors = draw.standard_normal((faces, size), np.float32)
    vectors *= np.sqrt(1 - alike) / np.linalg.norm(vectors, axis=1, keepdims=True)
    for start in range(0, faces, 8192):
        vectors[start : start + 8192] += np.sqrt(alike) * centres[who[start : start + 8192]]
    return vectors


def measure(method: str, faces: str, people: str, alike: str, threshold: str) -> dict[str, float]:
    """Cluster once."""
    from featflow.identity import compute_identities

    vectors = planted(int(faces), int(people), 128, float(alike))
    before, wall, cpu = peak_mb(), time.perf_counter(), time.process_time()
    labels = compute_identities(vectors, float(threshold), method).labels
    return {
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "input_mb": before,
        "peak_mb": peak_mb(),
        "found": len(set(labels)),
    }


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=int, default=200_000)
    parser.add_argument("--people", type=int, nargs="+", default=[1000])
    parser.add_argument("--alike", type=float, nargs="+", default=[0.8])
    parser.add_argument("--threshold", type=float, default=0.6)
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--methods", nargs="+", default=["gallery", "connected"])
    arguments = parser.parse_args()
    print(f"{arguments.faces} embeddings of 128 numbers, {arguments.threads} threads")
    print("method     people  alike   wall s    cpu s  peak MB  found")
    for people in arguments.people:
        for alike in arguments.alike:
            for method in arguments.methods:
                case = (method, arguments.faces, people, alike, arguments.threshold)
                r = _in_own_process(arguments.threads, *map(str, case))
                print(
                    f"{method:10s} {people:6d}  {alike:5.2f}  {r['wall_s']:7.1f}  {r['cpu_s']:7.1f}"
                    f"  {r['peak_mb']:7.0f}  {r['found']:5.0f}",
                    flush=True,
                )


def _in_own_process(threads: int, *case: str) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.identity", "--one", *case]
    environment = {**os.environ, **dict.fromkeys(LIBRARIES, str(threads))}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return dict(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(*sys.argv[2:])))
    else:
        main()
