"""Training pictures of ``emotion/tiny``: where the face stands in them, and how crops are drawn."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from featflow.datasets.labelled import Image
from featflow.flow.batch import FaceBatch
from featflow.geometry.similarity import compose
from featflow.geometry.warp import warp
from featflow.nodes.emotion.tiny.node import CROP
from featflow.nodes.landmark.tiny.training import jitter
from featflow.train.photometric import Rng, cover, degrade, relight

Floats = NDArray[np.floating[Any]]

NOTHING_SEEN = 0.02
"""Part of the training crops in which the face is destroyed; their target is ignorance."""

SMALLEST_FACE = 16
"""Least side in pixels from which a training crop is enlarged."""

HELD_OUT = 10
"""One in so many people is kept out of training, to calibrate on."""


@dataclass(frozen=True)
class Expressions:
    """Pictures with a place and a target each.

    Attributes:
        images: (H, W, 3) uint8 each.
        matrices: (N, 2, 3) maps from picture to crop.
        targets: (N, 7) probabilities.
        weights: (N,) how much each counts.
    """

    images: list[Image]
    matrices: Floats
    targets: Floats
    weights: Floats

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shares(self) -> NDArray[np.float64]:
        """(7,) what part of all targets, by weight, each class has."""
        shares = self.weights @ self.targets / self.weights.sum()
        return np.asarray(shares, np.float64)

    def plain(self, row: int) -> Image:
        """The crop that the node itself would cut."""
        return warp(self.images[row], self.matrices[row], (CROP.size, CROP.size), CROP.outside)

    def augmented(self, row: int, rng: Rng) -> Image:
        """A crop as bad landmarks, camera and light might give it; half of them mirrored."""
        matrix = compose(jitter(rng, CROP.size), self.matrices[row])
        crop = warp(self.images[row], matrix, (CROP.size, CROP.size), CROP.outside)
        if rng.random() < 0.5:
            crop = np.ascontiguousarray(crop[:, ::-1])
        crop = degrade(relight(crop, rng), rng, SMALLEST_FACE)
        return cover(crop, rng) if rng.random() < 0.2 else crop


def without_a_face(crop: Image, rng: Rng) -> Image:
    """A crop that shows no expression: one tone, noise, or the picture in shuffled pieces."""
    kind = rng.integers(3)
    if kind == 0:
        return np.full_like(crop, rng.integers(0, 256))
    if kind == 1:
        return rng.integers(0, 256, crop.shape, np.uint8)
    side = crop.shape[0] // 4
    pieces = crop.reshape(4, side, 4, side, 3).transpose(0, 2, 1, 3, 4).reshape(16, side, side, 3)
    mixed = rng.permutation(pieces).reshape(4, 4, side, side, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(mixed.reshape(crop.shape))


def matrices_of(landmarks: Floats) -> NDArray[np.float64]:
    """Maps (N, 2, 3) from pictures to crops by landmarks (N, 68, 2); NaN where unknown."""
    count = len(landmarks)
    return CROP.matrices(FaceBatch(np.zeros(count, np.int64), {"landmarks": np.asarray(landmarks)}))


def find_landmarks(images: list[Image]) -> NDArray[np.float32]:
    """What the shipped nodes see in pictures of one face: (N, 68, 2), NaN where they see none.

    The strongest face counts where there are several.
    """
    from featflow.detector import Detector
    from featflow.runs import RunOptions

    detector = Detector.only(face="tiny", landmark="tiny", device="cpu", mode="sequential")
    found = np.full((len(images), 68, 2), np.nan, np.float32)
    best = np.zeros(len(images))
    for batch in detector.run(images, RunOptions(batch_size=32)).batches():
        scores, points = batch.faces.score, batch.faces.landmarks
        for uid, score, face in zip(batch.faces.frame_uid, scores, points, strict=True):
            if score > best[uid]:
                best[uid], found[uid] = score, face
    return found


def place_crops(images: list[Image], landmarks: Floats) -> NDArray[np.float64]:
    """Maps (N, 2, 3) for pictures that were all cut around a face, and in one manner.

    Where no face was found, the crop lies in the picture as it does in the median of the others;
    where none was found at all, it is the picture.
    """
    matrices = matrices_of(landmarks)
    known = np.asarray(np.isfinite(matrices).all((1, 2)), bool)
    sizes = np.array([image.shape[1::-1] for image in images], float).reshape(-1, 2)
    units = np.zeros((len(images), 2, 3))  # from the unit square to each picture
    units[:, 0, 0], units[:, 1, 1] = sizes[:, 0], sizes[:, 1]
    usual = np.array([[CROP.size, 0.0, 0.0], [0.0, CROP.size, 0.0]])
    if known.any():
        usual = np.median(compose(matrices[known], units[known]), 0)
    inverse = np.zeros((len(images), 2, 3))
    inverse[:, 0, 0], inverse[:, 1, 1] = 1 / sizes[:, 0], 1 / sizes[:, 1]
    return np.where(known[:, None, None], matrices, compose(usual, inverse))


def held_out(table: pl.DataFrame) -> NDArray[np.bool_]:
    """Rows (N,) of one in :data:`HELD_OUT` people; a person without a name is their picture."""
    people = table.select(pl.coalesce("identity", "file")).to_series().to_list()
    return np.array([zlib.crc32(name.encode()) % HELD_OUT == 0 for name in people], np.bool_)
