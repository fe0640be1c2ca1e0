"""Training photographs: the teacher's units, and the landmarks that featflow itself sets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from featflow.datasets.frame import Frame
from featflow.datasets.labelled import Image, LabelledFaces
from featflow.flow.batch import Batch, FaceBatch, FrameBatch
from featflow.geometry.crop import complete_points5
from featflow.geometry.landmarks import box_of_landmarks, interocular, mirror_landmarks
from featflow.geometry.similarity import compose
from featflow.geometry.warp import warp
from featflow.nodes.au.tiny.node import CROP, aligned_points
from featflow.nodes.au.tiny.units import SILENT, UNITS, teacher_units
from featflow.nodes.landmark.tiny.node import LandmarkTiny
from featflow.nodes.landmark.tiny.training import jitter
from featflow.train.photometric import Rng, cover, degrade, relight

Floats = NDArray[np.floating[Any]]

PLACED_BY_TEACHER = 0.25
"""Part of the training faces whose points are the teacher's, with noise, not featflow's."""

NOISE = 0.015
"""Standard deviation of a landmark's error over the inter-ocular distance, added in training."""

SHAKE = 0.25
"""Part of the landmark node's crop jitter that crops get on top of their points' errors."""


class UnitCrops:
    """Photographs with units, and how a training sample is drawn from them.

    Args:
        faces: the photographs.
        jitters: for each set of featflow's own landmarks, how far the five points that it is
            started from lie off, as a part of the box's longer side.
        seed: of that.
    """

    def __init__(self, faces: LabelledFaces, jitters: tuple[float, ...], seed: int = 0) -> None:
        self.images: list[Image] = faces.read_all()
        self.teacher = faces.landmarks.astype(np.float64)
        self.units = teacher_units(faces)
        boxes = faces.boxes
        self.box = np.where(np.isfinite(boxes), boxes, box_of_landmarks(self.teacher))
        start = complete_points5(faces.points5, self.box)
        rng = np.random.default_rng(seed)
        side = np.ptp(self.box.reshape(-1, 2, 2), axis=1).max(1)[:, None, None]
        moved = [start + rng.normal(0, 1, start.shape) * side * part for part in jitters]
        self.own = [own_landmarks(self.images, self.box, five, self.teacher) for five in moved]

    def __len__(self) -> int:
        return len(self.images)

    def plain(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """What the node itself would see of the rows, by its own landmarks."""
        return self._cut(rows, self.own[0][rows], self._matrices(self.own[0][rows]))

    def augmented(self, rows: NDArray[np.int64], rng: Rng) -> dict[str, NDArray[Any]]:
        """Rows as a bad landmark node, camera and light might show them; half are mirrored."""
        points = self._points(rows, rng)
        shake = np.stack([soft_jitter(rng) for _ in rows])
        sample = self._cut(rows, points, compose(shake, self._matrices(points)))
        turned = rng.random(len(rows)) < 0.5
        sample["crop"][turned] = sample["crop"][turned, :, ::-1]
        sample["points"][turned] = mirror_landmarks(sample["points"][turned], 0.0)
        for index, crop in enumerate(sample["crop"]):
            lit = degrade(relight(crop, rng), rng, smallest=24)
            sample["crop"][index] = cover(lit, rng) if rng.random() < 0.05 else lit
        return sample

    def _points(self, rows: NDArray[np.int64], rng: Rng) -> NDArray[np.float64]:
        sets = np.stack([own[rows] for own in self.own])
        points = sets[rng.integers(0, len(sets), len(rows)), np.arange(len(rows))]
        by_teacher = rng.random(len(rows)) < PLACED_BY_TEACHER
        points = np.where(by_teacher[:, None, None], self.teacher[rows], points)
        size = interocular(self.teacher[rows])[:, None, None]
        level = rng.uniform(0, 2 * NOISE, (len(rows), 1, 1)) * size
        return np.asarray(points + rng.normal(0, 1, points.shape) * level, np.float64)

    def _matrices(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        box = box_of_landmarks(points)
        return CROP.matrices(FaceBatch(np.arange(len(points)), {"box": box, "landmarks": points}))

    def _cut(
        self, rows: NDArray[np.int64], points: Floats, matrices: NDArray[np.float64]
    ) -> dict[str, NDArray[Any]]:
        size = (CROP.size, CROP.size)
        pairs = zip(rows.tolist(), matrices, strict=True)
        crops = [warp(self.images[row], matrix, size, CROP.outside) for row, matrix in pairs]
        return {
            "crop": np.stack(crops),
            "points": aligned_points(points),
            "units": self.units[rows],
        }

    def chances(self) -> NDArray[np.float64]:
        """How often each row is drawn: rows with rare units up to six times as often as others."""
        known = self.units[:, [unit not in SILENT for unit in UNITS]]
        rarity = known / np.maximum(known.mean(0), 1e-3)
        weight = np.clip(rarity.mean(1).astype(np.float64), 0.5, 3.0)
        return np.asarray(weight / weight.sum(), np.float64)


def soft_jitter(rng: Rng) -> NDArray[np.float64]:
    """A small part of the landmark node's jitter: (2, 3) about the crop's centre."""
    still = np.eye(2, 3)
    return np.asarray(still + SHAKE * (jitter(rng, CROP.size) - still), np.float64)


def own_landmarks(
    images: list[Image], box: Floats, points5: Floats, fallback: Floats, at_a_time: int = 64
) -> NDArray[np.float64]:
    """Landmarks (N, 68, 2) that ``landmark/tiny`` sets; ``fallback`` where it sets none."""
    node = LandmarkTiny()
    found = []
    with torch.inference_mode():
        for batch in _batches(images, box, points5, at_a_time):
            found.append(node.post_process(batch, node.process(node.pre_process(batch))))
    points = np.concatenate([each["landmarks"] for each in found]).astype(np.float64)
    known = np.isfinite(points).all((1, 2), keepdims=True)
    return np.where(known, points, fallback)


def _batches(images: list[Image], box: Floats, points5: Floats, size: int) -> Iterator[Batch]:
    for start in range(0, len(images), size):
        part = images[start : start + size]
        frames = FrameBatch.from_frames(
            [Frame(image, str(n), size_px=image.shape[:2]) for n, image in enumerate(part)]
        )
        fields = {"box": box[start : start + size], "points5": points5[start : start + size]}
        yield Batch(frames, FaceBatch(np.arange(len(part)), fields))
