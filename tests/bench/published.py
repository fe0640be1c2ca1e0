"""``python -m tests.bench.published``: the published networks against what the machine can do.

The reference set (retinaface, mobilefacenet, pose_mlp, xgb, resmasknet, arcface, l2cs) runs on
stand-in weights, which cost what real ones do. RetinaFace with such weights finds nothing, so
every frame is given one face after its network and decoding have run. Arithmetic is counted in the
convolutions and linear layers; what the machine delivers is measured on one large convolution
between the runs. The bound of a network is its arithmetic over that speed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file
from torch import Tensor, nn

from featflow.detector import Detector
from featflow.features.classical import Projection
from featflow.features.hog_classifiers import AU_COLUMNS, HOG_VALUES, XGB_REGIONS, HogClassifiers
from featflow.features.trees import TreeEnsemble
from featflow.flow.batch import Batch, FaceBatch
from featflow.nodes import card_of
from featflow.nodes.face.retinaface.node import RetinaFaceNode
from featflow.runs import RunOptions
from featflow.slots import REFERENCE
from tests.bench import clips
from tests.bench.measure import THREADS, peak_mb
from tests.nodes.conftest import Expectation

LAYOUTS = {
    "face/retinaface": "retinaface_r34",
    "landmark/mobilefacenet": "mobilefacenet",
    "pose/pose_mlp": "pose_mlp",
    "emotion/resmasknet": "resmasknet",
    "identity/arcface": "arcface_r50",
    "gaze/l2cs": "l2cs_r50",
}
COMPONENTS = {"upper": 776, "lower": 1059, "full": 1243}
"""Of the published AU models, from the widths that their publisher's migration script names."""

TREES, DEPTH = 100, 5
"""A guess: how many trees the published boosters have is not known."""

FACE = ((250.0, 70, 390, 250), ((290.0, 130), (350, 130), (320, 165), (295, 200), (345, 200)))


class OneFace(RetinaFaceNode):
    """RetinaFace with its whole cost, and one face in each frame whatever it says."""

    def post_process(self, batch: Batch, outputs: Any) -> FaceBatch:
        """Decode, then put the face there."""
        super().post_process(batch, outputs)
        count = len(batch.frames)
        fields = {
            "box": np.tile(FACE[0], (count, 1)),
            "score": np.full(count, 0.9),
            "points5": np.tile(FACE[1], (count, 1, 1)),
        }
        return FaceBatch(batch.frames.uids, fields)


OneFace.folder = RetinaFaceNode.folder  # type: ignore[method-assign]  # the card lies there


def lay_weights(folder: Path) -> None:
    """Write stand-in weights where ``FEATFLOW_WEIGHTS`` has them."""
    for node, layout in LAYOUTS.items():
        weights = Expectation(layout).weights()
        if node == "face/retinaface":  # surely no face, so that decoding costs what it does
            for key in [key for key in weights if key.startswith("ClassHead")]:
                weights[key] = torch.zeros_like(weights[key])
                if key.endswith("bias"):
                    weights[key][::2] = 5.0
        path = folder / node / Path(card_of(node).source.files[0]).name  # type: ignore[union-attr]
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(weights, path)
    scale = {"mean": [0.0] * 6, "std": [0.1] * 6}
    pose = {"hidden": [512, 256, 128], "dropout": 0.15, "output_normalization": scale}
    name = card_of("pose/pose_mlp").source.files[1]  # type: ignore[union-attr]
    (folder / "pose/pose_mlp" / name).write_text(json.dumps({"architecture": pose}))
    (folder / "au/xgb").mkdir(parents=True, exist_ok=True)
    arrays = hog_model().arrays()
    save_arrays(
        {key: np.array(value, order="C") for key, value in arrays.items()},
        folder / "au/xgb" / "xgb_au_classifier_v2.safetensors",
    )


def hog_model() -> HogClassifiers:
    """Random projections and trees of the published sizes, as far as these are known."""
    rng = np.random.default_rng(0)
    ones, zeros = np.ones(HOG_VALUES), np.zeros(HOG_VALUES)
    projections = {
        part: Projection(zeros, ones, zeros, rng.normal(size=(count, HOG_VALUES)) / 70)
        for part, count in COMPONENTS.items()
    }
    trees = {
        name: random_trees(rng, COMPONENTS[XGB_REGIONS.get(name, "full")] + 136)
        for name in AU_COLUMNS
    }
    return HogClassifiers(AU_COLUMNS, XGB_REGIONS, projections, trees)  # type: ignore[arg-type]


def random_trees(rng: np.random.Generator, features: int) -> TreeEnsemble:
    """Complete binary trees."""
    inner, nodes = 2**DEPTH - 1, 2 ** (DEPTH + 1) - 1
    at = np.arange(nodes)
    leaf = at >= inner
    first = np.arange(TREES)[:, None] * nodes

    def child(step: int) -> NDArray[np.int32]:
        return (np.where(leaf, at, 2 * at + step) + first).ravel().astype(np.int32)

    size = TREES * nodes
    return TreeEnsemble(
        roots=first.ravel().astype(np.int32),
        left=child(1),
        right=child(2),
        feature=rng.integers(0, features, size).astype(np.int32),
        threshold=rng.normal(size=size).astype(np.float32),
        default_left=rng.random(size) < 0.5,
        value=np.tile(np.where(leaf, 0.01, 0.0), TREES).astype(np.float32),
        base=np.asarray(0.0),
        hinge=np.asarray(False),
        depth=np.asarray(DEPTH, np.int32),
    )


class Meter:
    """Seconds and arithmetic of networks, by hooks on them and on their layers."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.flop: dict[str, float] = defaultdict(float)
        self._started = 0.0

    def watch(self, name: str, model: nn.Module) -> None:
        """Count what a network does from now on."""

        def begin(*_: Any) -> None:
            self._started = time.perf_counter()

        def end(*_: Any) -> None:
            self.seconds[name] += time.perf_counter() - self._started

        def count(layer: Any, _: Any, output: Tensor) -> None:
            self.flop[name] += 2.0 * multiplications(layer, output)

        model.register_forward_pre_hook(begin)
        model.register_forward_hook(end)
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                layer.register_forward_hook(count)


def multiplications(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear, output: Tensor) -> float:
    """Of one call of a layer with this output."""
    if isinstance(layer, nn.Linear):
        return output.numel() * layer.in_features
    kernel = layer.kernel_size[0] * layer.kernel_size[1]
    inside = layer.in_channels / layer.groups
    if isinstance(layer, nn.ConvTranspose2d):  # every input pixel meets the kernel once
        return output.numel() * inside * kernel / (layer.stride[0] * layer.stride[1])
    return output.numel() * inside * kernel


def machine_gflops(seconds: float = 2.0) -> float:
    """GFLOP a second of a large 3x3 convolution, channels last, as the networks run; median."""
    layer = nn.Conv2d(256, 256, 3, padding=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(8, 256, 56, 56).to(memory_format=torch.channels_last)
    speeds = []
    with torch.inference_mode():
        work = 2.0 * multiplications(layer, layer(x)) / 1e9
        until = time.perf_counter() + seconds
        while time.perf_counter() < until or len(speeds) < 3:
            started = time.perf_counter()
            layer(x)
            speeds.append(work / (time.perf_counter() - started))
    return statistics.median(speeds)


def reference_set(weights: Path, mode: Any) -> Detector:
    """The set on stand-in weights."""
    nodes: dict[str, Any] = {**REFERENCE, "face": OneFace(weights / "face/retinaface")}
    options = {slot: {"weights": weights / f"{slot}/{REFERENCE[slot]}"} for slot in REFERENCE}
    del options["face"]
    return Detector(**nodes, options=options, device="cpu", mode=mode)


def timed_run(detector: Detector, clip: Path, options: RunOptions) -> dict[str, Any]:
    """One run: milliseconds a frame, whole and by stage."""
    run = detector.run(str(clip), options)
    started = time.perf_counter()
    rows = run.table(progress_bar=False)
    seconds = time.perf_counter() - started
    frames = run.frames_done
    assert len(rows) == frames, "one face a frame"
    stages = {name: s / frames * 1e3 for name, s in run.timings.items()}
    return {"ms": seconds / frames * 1e3, "frames": frames, "stages": stages}


def inside(weights: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """All measurements, in this process."""
    torch.set_num_threads(THREADS)
    clip = clips.one_face()
    options = RunOptions(batch_size=arguments.batch, stop=arguments.seconds)
    threaded = reference_set(weights, "threads")
    warm_up = RunOptions(batch_size=arguments.batch, stop=min(0.3, arguments.seconds or 0.3))
    timed_run(threaded, clip, warm_up)
    walls = [timed_run(threaded, clip, options) for _ in range(arguments.repeats)]
    peak = peak_mb()
    threaded.close()
    # One thing at a time, so that a network's seconds are its own.
    detector = reference_set(weights, "sequential")
    timed_run(detector, clip, warm_up)
    meter = Meter()
    for node in detector.nodes.values():
        if node.id in LAYOUTS:
            meter.watch(node.id, node.model)  # type: ignore[attr-defined]
    speeds, frames = [machine_gflops()], 0
    for _ in range(arguments.repeats):
        run = timed_run(detector, clip, options)
        frames += run["frames"]
        speeds.append(machine_gflops())
    wall = sorted(walls, key=lambda each: each["ms"])[len(walls) // 2]
    return {
        "clip": clip.name,
        "frames": wall["frames"],
        "ms": wall["ms"],
        "stages": run["stages"],
        "peak_mb": peak,
        "gflops": speeds,
        "network_ms": {k: v / frames * 1e3 for k, v in meter.seconds.items()},
        "network_gflop": {k: v / frames / 1e9 for k, v in meter.flop.items()},
    }


def show(found: dict[str, Any], batch: int) -> None:
    """Print what was measured."""
    speed = statistics.median(found["gflops"])
    print(f"{found['clip']}, {found['frames']} frames, batch {batch}, {THREADS} threads")
    print(f"machine: {speed:.1f} GFLOP/s on a large convolution", end=" ")
    print(f"({min(found['gflops']):.1f} to {max(found['gflops']):.1f} between the runs)\n")
    print(f"{'network':26s}{'GFLOP':>8s}{'ms':>9s}{'bound':>9s}{'ratio':>7s}   a frame")
    total_ms = total_bound = 0.0
    for name, gflop in found["network_gflop"].items():
        ms, bound = found["network_ms"][name], gflop / speed * 1e3
        total_ms, total_bound = total_ms + ms, total_bound + bound
        print(f"{name:26s}{gflop:8.3f}{ms:9.2f}{bound:9.2f}{ms / bound:7.2f}")
    total = sum(found["network_gflop"].values())
    ratio = total_ms / total_bound
    print(f"{'all':26s}{total:8.3f}{total_ms:9.2f}{total_bound:9.2f}{ratio:7.2f}   (limit 1.35)\n")
    print(f"{'stage, one at a time':26s}{'ms a frame':>11s}")
    for name, ms in found["stages"].items():
        print(f"{name:26s}{ms:11.2f}")
    print(f"{'wall clock, threads':26s}{found['ms']:11.2f}  ({1e3 / found['ms']:.1f} frames/s)")
    print(f"{'peak memory':26s}{found['peak_mb']:8.0f} MB")


def main() -> None:
    """Measure in a process of its own, so that peak memory is that of detecting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=None, help="of the clip; all of it")
    parser.add_argument("--weights", type=Path, help="keep the stand-in weights here (1.2 GB)")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        print(json.dumps(inside(arguments.weights, arguments)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.weights or Path(temporary)
        if not (folder / "au/xgb").is_dir():
            lay_weights(folder)
        command = [sys.executable, "-m", "tests.bench.published", "--inside"]
        command += ["--weights", str(folder), "--repeats", str(arguments.repeats)]
        command += ["--batch", str(arguments.batch)]
        if arguments.seconds is not None:
            command += ["--seconds", str(arguments.seconds)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        show(json.loads(done.stdout.splitlines()[-1]), arguments.batch)


if __name__ == "__main__":
    main()
