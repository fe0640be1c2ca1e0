"""``python -m tests.bench.loader``: augmented crops a second, against OpenCV picture by picture.

Both make the same: a 128-pixel crop with its mask and landmarks; colours shifted in L*a*b*, CLAHE
on half of the pictures, one affine map and mirror, a random warp of the input; batches of floats.
OpenCV does it in one process, one picture after the other, as a script would: from the photographs,
and, harder to beat, from crops that were cut before and lie in memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from featflow.datasets import FaceDataset, FaceLoader, FaceSets
from featflow.geometry.crop import CropRule
from featflow.geometry.hull_masks import HULLS
from featflow.geometry.landmarks import MIRROR_68
from featflow.testing.painted import painted_faces
from featflow.train.augment import AugmentOptions
from featflow.train.models.faces import AugmentFaces

SIZE, BATCH, CORES = 128, 64, 2
CROP = CropRule.centred(SIZE, "face", 0.875, "replicate")
PART = "extended"

Arrays = tuple[NDArray[np.float32], ...]


class PlainOpenCV:
    """The pipeline as one writes it with OpenCV: a picture at a time.

    Args:
        faces: says where faces lie; its crops are taken where ``photographs`` is False.
        photographs: read and cut the photograph each time.
    """

    def __init__(self, faces: FaceDataset, photographs: bool) -> None:
        self.faces, self.photographs = faces, photographs
        self.random = np.random.default_rng(0)
        self.options = AugmentOptions.from_config(SIZE)
        self.paths = [str(faces.root / name) for name in faces.table["input"]]
        self.ready = [] if photographs else [self.cut(row) for row in range(len(faces))]

    def cut(self, row: int) -> NDArray[np.uint8]:
        """Crop and mask, (S, S, 4) BGR and mask."""
        assert self.faces.points is not None
        picture = cv2.imread(self.paths[row])
        flags = {"flags": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REPLICATE}
        crop = cv2.warpAffine(picture, self.faces.matrices[row], (SIZE, SIZE), **flags)
        mask = np.zeros((SIZE, SIZE), np.uint8)
        for rows in HULLS[PART]:
            hull = cv2.convexHull(self.faces.points[row][list(rows)].round().astype(np.int32))
            cv2.fillConvexPoly(mask, hull, 255, cv2.LINE_AA)
        return np.dstack([crop, mask])

    def one(self, row: int) -> Arrays:
        """Input (3, S, S), target (3, S, S), mask (1, S, S) and points (68, 2) of one face."""
        assert self.faces.points is not None
        layers = self.cut(row) if self.photographs else self.ready[row].copy()
        layers[..., :3] = self._colour(layers[..., :3])
        layers, points = self._affine(layers, self.faces.points[row])
        target = layers[..., 2::-1].astype(np.float32) / 255
        seen = self._warp(layers[..., 2::-1]).astype(np.float32) / 255
        mask = layers[None, ..., 3].astype(np.float32) / 255
        return seen.transpose(2, 0, 1), target.transpose(2, 0, 1), mask, points

    def _colour(self, bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
        options, random = self.options, self.random
        lab = cv2.cvtColor(np.ascontiguousarray(bgr), cv2.COLOR_BGR2LAB).astype(np.float32)
        most = np.array([options.lightness, options.colour, options.colour])
        amount = (random.uniform(-1, 1, 3) * most).astype(np.float32)
        lab = lab * (1 - np.abs(amount)) + 255 * np.maximum(amount, 0)
        lab = lab.astype(np.uint8)
        if random.random() < options.clahe_chance:
            tiles = options.clahe_tiles + random.integers(5) * (options.clahe_tiles // 2)
            equalise = cv2.createCLAHE(options.clahe_clip, (int(tiles), int(tiles)))
            lab[..., 0] = equalise.apply(np.ascontiguousarray(lab[..., 0]))
        return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2BGR), np.uint8)

    def _affine(
        self, layers: NDArray[np.uint8], points: NDArray[np.float32]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        options, random = self.options, self.random
        angle, zoom = options.rotation * random.uniform(-1, 1), random.uniform(-1, 1)
        matrix = cv2.getRotationMatrix2D((SIZE / 2, SIZE / 2), angle, 1 + options.zoom * zoom)
        matrix[:, 2] += random.uniform(-options.shift, options.shift, 2)
        flags = {"flags": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REPLICATE}
        layers = cv2.warpAffine(layers, matrix, (SIZE, SIZE), **flags)
        points = (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
        if random.random() < options.flip:
            layers = layers[:, ::-1]
            points = np.stack([SIZE - points[:, 0], points[:, 1]], -1)[MIRROR_68]
        return layers, points

    def _warp(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        grid = np.linspace(0, SIZE, 5, dtype=np.float32)
        noise = self.random.normal(0, self.options.warp, (2, 5, 5)).astype(np.float32)
        wide = SIZE * 5 // 4
        inside = slice((wide - SIZE) // 2, (wide + SIZE) // 2)
        x = cv2.resize(grid[None] + noise[0], (wide, wide))[inside, inside]
        y = cv2.resize(grid[:, None] + noise[1], (wide, wide))[inside, inside]
        return np.asarray(cv2.remap(np.ascontiguousarray(picture), x, y, cv2.INTER_LINEAR))

    def batches(self) -> Iterator[tuple[torch.Tensor, ...]]:
        """Endless batches of tensors."""
        order = (row for _ in count() for row in self.random.permutation(len(self.faces)))
        while True:
            made = [self.one(int(next(order))) for _ in range(BATCH)]
            yield tuple(torch.from_numpy(np.stack(part)) for part in zip(*made, strict=True))


def opencv(faces: FaceDataset, photographs: bool) -> Iterator[Any]:
    """Batches of the plain pipeline."""
    return PlainOpenCV(faces, photographs).batches()


def featflow(faces: FaceDataset, workers: int) -> Iterator[Any]:
    """Batches of featflow's loader."""
    sets = FaceSets({"A": faces})
    augment = AugmentFaces(sets, AugmentOptions.from_config(SIZE))
    return FaceLoader(sets, BATCH, workers=workers, transform=augment).batches()


WAYS: dict[str, Callable[[FaceDataset], Iterator[Any]]] = {
    "OpenCV, from photographs": lambda faces: opencv(faces, photographs=True),
    "OpenCV, from crops in memory": lambda faces: opencv(faces, photographs=False),
    "featflow, one worker": lambda faces: featflow(faces, workers=1),
    "featflow, two workers": lambda faces: featflow(faces, workers=2),
}


def measure(way: str, fex: str, cache: str, batches: str) -> dict[str, float]:
    """Images a second, processor milliseconds an image, and peak memory of all processes."""
    faces = FaceDataset(fex, crop=CROP, mask=PART, cache=cache)
    stream = WAYS[way](faces)
    for _ in range(4):
        next(stream)
    started, busy = time.perf_counter(), _processor_seconds()
    for _ in range(int(batches)):
        next(stream)
    seconds, images = time.perf_counter() - started, int(batches) * BATCH
    used, workers = _processor_seconds() - busy, _children_mb()
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "speed": images / seconds,
        "cpu_ms": used / images * 1e3,
        "peak_mb": own + sum(workers),
    }


def _children() -> list[Path]:
    mine = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [Path(f"/proc/{number}") for number in mine]


def _processor_seconds() -> float:
    own = sum(os.times()[:2])
    ticks = os.sysconf("SC_CLK_TCK")
    stats = [(child / "stat").read_text().rpartition(")")[2].split() for child in _children()]
    return own + sum(int(fields[11]) + int(fields[12]) for fields in stats) / ticks


def _children_mb() -> list[float]:
    """Peak resident memory of each worker; pages shared with the parent are counted again."""
    texts = [(child / "status").read_text().split("VmHWM:") for child in _children()]
    return [float(text[1].split()[0]) / 1024 for text in texts if len(text) == 2]


def main() -> None:
    """Measure each way in a process of its own and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fex", help="table of faces in photographs; painted ones if left out")
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fex = wanted.fex or str(Path(folder) / "faces.parquet")
        if not wanted.fex:
            painted_faces(folder, 256, size_px=(300, 300)).save(fex)
        FaceDataset(fex, crop=CROP, mask=PART, cache=folder)  # the crops are cut once, unmeasured
        runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for _ in range(wanted.repeats):  # the ways take turns, so that a busy moment hits all
            for way, seen in runs.items():
                seen.append(_in_own_process(way, fex, folder, str(wanted.batches)))
    _print(runs)


def _in_own_process(*arguments: str) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.loader", "--one", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _print(runs: dict[str, list[dict[str, float]]]) -> None:
    best = {way: max(seen, key=lambda run: run["speed"]) for way, seen in runs.items()}
    print(
        f"{SIZE} pixels, batches of {BATCH}, {CORES} cores, best of {len(runs[next(iter(runs))])}"
    )
    print("                               images/s   CPU ms   peak MB   x photographs   x crops")
    photographs, crops = (best[way]["speed"] for way in list(WAYS)[:2])
    for way, run in best.items():
        speed = run["speed"]
        print(
            f"{way:30s} {speed:8.0f} {run['cpu_ms']:8.2f} {run['peak_mb']:9.0f} "
            f"{speed / photographs:15.2f} {speed / crops:9.2f}"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(*sys.argv[2:])))
    else:
        main()
