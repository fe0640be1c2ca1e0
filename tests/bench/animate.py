"""``python -m tests.bench.animate``: milliseconds of the animation core, one thread."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from featflow.animate.cache import FrameCache, frame_key, still_digest
from featflow.animate.codecs import Codec, JpegCodec, RawCodec, RegionCodec
from featflow.animate.core import AnimationCore
from featflow.animate.interpolate import FlowInterpolator, PoseInterpolator
from featflow.animate.pose import pack
from featflow.animate.puppet import MeshWarpAnimator
from featflow.animate.rig import Rig
from featflow.animate.store import RamStore, SqliteStore

FULL = {"head_y": 0.8, "head_x": 0.4, "neck_z": 0.3, "body_z": 0.2, "breathing": 0.5}
FACE = {"mouth_aaa": 0.5, "eye_wink_left": 0.7, "eye_wink_right": 0.7, "eyebrow_raised_left": 0.4}
EYES = {"eye_wink_left": 0.7, "eye_wink_right": 0.7, "iris_rotation_y": 0.3}


def medians(
    tasks: dict[str, Callable[[], object]], repeats: int
) -> dict[str, tuple[float, float, float]]:
    """Median and least milliseconds, and median of processor time.

    The tasks take turns, so that a busy moment hits all. Processor time leaves out the waiting
    for other programs; on a quiet machine it is the first figure.
    """
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in tasks}
    for _ in range(repeats + 2):
        for name, task in tasks.items():
            started, busy = time.perf_counter(), time.process_time()
            task()
            ended = time.perf_counter(), time.process_time()
            times[name].append(((ended[0] - started) * 1e3, (ended[1] - busy) * 1e3))
    results = {}
    for name, pairs in times.items():
        wall, processor = zip(*pairs[2:], strict=True)
        results[name] = statistics.median(wall), min(wall), statistics.median(processor)
    return results


def tasks_for(rig: Rig, still: np.ndarray, folder: Path) -> dict[str, Callable[[], object]]:
    """What is measured, each beside a plain remap of the same frame."""
    animator = MeshWarpAnimator(rig)
    animator.set_image(still)
    out = np.empty_like(still)
    y, x = np.mgrid[0:512, 0:512].astype(np.float32)
    xs, ys = x + 3.3 * np.sin(y / 40), y + 2.7 * np.cos(x / 40)
    plain = np.empty_like(still)
    tasks: dict[str, Callable[[], object]] = {
        "plain OpenCV remap": lambda: cv2.remap(still, xs, ys, cv2.INTER_LINEAR, plain),
    }
    poses = {"full frame": FULL, "full frame and face": FULL | FACE, "face": FACE, "eyes": EYES}
    for name, pose in poses.items():
        row = pack(pose)[0]
        tasks[f"miss, {name}"] = lambda row=row: animator.render(row, out)  # type: ignore[misc]
    frame = np.empty_like(still)
    for name, pose in (("full frame", FULL), ("face", FACE)):
        animator.render(pack(pose)[0], frame)
        for codec in (RawCodec(), RegionCodec(), JpegCodec(85)):
            tasks |= _hits(f"{codec.name}, {name}", codec, still, frame.copy())
    store = SqliteStore(folder / "bench.sqlite", 2**30)
    tasks |= _hits("sqlite region-zstd, face", RegionCodec(), still, frame.copy(), store)
    for between in (FlowInterpolator(2), PoseInterpolator(2)):
        core = AnimationCore(MeshWarpAnimator(rig), interpolator=between)
        core.set_image(still)
        turn = [pack(FULL), pack({k: -v if k == "head_y" else v for k, v in FULL.items()})]

        def play(core: AnimationCore = core, turn: list = turn) -> None:  # type: ignore[type-arg]
            turn.reverse()
            core.inference(turn[0])

        tasks[f"inference x2, {between.name} interpolation"] = play
    return tasks


def _hits(
    name: str, codec: Codec, still: np.ndarray, frame: np.ndarray, store: object = None
) -> dict[str, Callable[[], object]]:
    cache = FrameCache(store or RamStore(2**30), codec)  # type: ignore[arg-type]
    out = np.empty_like(still)
    key = frame_key(still_digest(still), np.zeros(45, np.int16))
    cache.put(key, still, frame)
    return {f"hit, {name}": lambda: cache.get(key, still, out)}


def main() -> None:
    """Measure and print."""
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("still", help="picture of a face")
    parser.add_argument("rig", help="its rig, JSON")
    parser.add_argument("--repeats", type=int, default=40)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    from featflow.animate.produce import prepare

    still, rig = prepare(arguments.still, Rig.load(arguments.rig))
    with tempfile.TemporaryDirectory() as folder:
        results = medians(tasks_for(rig, still, Path(folder)), arguments.repeats)
    print(f"512 x 512, one thread, {arguments.repeats} repeats: median (least), processor ms")
    for name, (median, least, processor) in results.items():
        print(f"{name:42s}{median:8.2f} ({least:.2f}) {processor:8.2f}")


if __name__ == "__main__":
    main()
