"""What ``identity/tiny`` learns from: aligned crops, the teacher's vectors and people's names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from featflow.datasets.labelled import LabelledFaces
from featflow.errors import MissingInputError, TrainingError
from featflow.geometry.crop import CropRule
from featflow.geometry.landmarks import five_points
from featflow.geometry.similarity import compose, umeyama
from featflow.geometry.warp import warp
from featflow.nodes.identity.tiny.network import DIMENSIONS
from featflow.nodes.identity.tiny.node import CROP
from featflow.train.photometric import Image, Rng, cover, degrade, relight

Floats = NDArray[np.floating[Any]]

WIDE = CropRule(size=96, anchor="landmarks5", expansion=1.25)
"""What is kept of each photograph: enough around the crop to move it, a little finer."""

FROM_WIDE = umeyama(WIDE.template(), CROP.template())
"""Map from there to the network's crop, (2, 3)."""

TEACHER = "identity_teacher.npz"
OUTLIER = 0.25
"""Cosine with the rest of its person below which a face has a wrong name, or shows too little."""

NOBODY = -1


def labelled_rows(root: str | Path, split: str) -> tuple[LabelledFaces, NDArray[np.float32]]:
    """Photographs of a split and the teacher's unit vectors (N, 256) of them.

    Raises:
        MissingInputError: there is no table, or no file of the teacher's vectors.
    """
    everything = LabelledFaces.open(root)
    path = everything.root / TEACHER
    if not path.is_file():
        raise MissingInputError(str(path), "no such file", "it lies beside labels.parquet")
    with np.load(path, allow_pickle=False) as file:
        vectors = file["embedding"].astype(np.float32)
    chosen = (everything.table["split"] == split).to_numpy()
    return LabelledFaces(everything.root, everything.table.filter(pl.Series(chosen))), vectors[
        chosen
    ]


def held_out_people(faces: LabelledFaces, every: int = 10) -> NDArray[np.bool_]:
    """Rows of every ``every``-th person in the order of names, to choose on instead of ``val``."""
    names = faces.table["identity"].fill_null("").to_numpy()
    _, person = np.unique(names, return_inverse=True)
    return np.asarray(person % every == 0)


@dataclass(frozen=True)
class Basis:
    """The 128 directions that hold most of the teacher's vectors; dot products nearly stay.

    Attributes:
        directions: (256, 128) orthonormal columns.
    """

    directions: NDArray[np.float32]

    @classmethod
    def of(cls, vectors: NDArray[np.float32]) -> Basis:
        """From the vectors of the training split."""
        if len(vectors) < DIMENSIONS:
            raise TrainingError(f"{len(vectors)} vectors do not span {DIMENSIONS} directions")
        return cls(np.linalg.svd(vectors, full_matrices=False)[2][:DIMENSIONS].T)

    def project(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unit vectors (N, 128)."""
        return unit(vectors @ self.directions)


def unit(vectors: Floats) -> NDArray[np.float32]:
    """Rows brought to length 1."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), np.float32)


def people(
    names: list[str | None], targets: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Who is on each photograph, and where the teacher puts them.

    Args:
        names: (N,) names or None.
        targets: (N, D) unit vectors of the teacher.

    Returns:
        (N,) number of the person, ``NOBODY`` without a name and for outliers; (K, D) unit means
        of each person's vectors, outliers left out.
    """
    known = sorted({name for name in names if name is not None})
    number = {name: i for i, name in enumerate(known)}
    person = np.array([number.get(name, NOBODY) if name else NOBODY for name in names], np.int64)
    sums = _sums(person, targets, len(known))
    named = person != NOBODY
    rest = unit(sums[person] - targets)
    alone = np.bincount(person[named], minlength=len(known))[person] < 2
    odd = named & ~alone & ((rest * targets).sum(1) < OUTLIER)
    person[odd] = NOBODY
    kept = _sums(person, targets, len(known))
    return person, unit(kept)


def _sums(person: NDArray[np.int64], targets: NDArray[np.float32], count: int) -> Floats:
    sums = np.zeros((count, targets.shape[1]), np.float32)
    named = person != NOBODY
    np.add.at(sums, person[named], targets[named])
    return sums


class AlignedFaces:
    """Crops in memory, and how a training crop is drawn from them.

    Attributes:
        crops: (N, 96, 96, 3) uint8, cut by the five points of the 68 landmarks with :data:`WIDE`.
    """

    def __init__(self, faces: LabelledFaces) -> None:
        size = (WIDE.size, WIDE.size)
        matrices = umeyama(five_points(faces.landmarks), WIDE.template())
        self.crops = np.zeros((len(faces), *size, 3), np.uint8)
        for row, matrix in enumerate(matrices):
            self.crops[row] = warp(faces.read(row), matrix, size, WIDE.outside)

    def __len__(self) -> int:
        return len(self.crops)

    def plain(self, row: int) -> Image:
        """The crop (64, 64, 3) that the node itself would cut, from perfect landmarks."""
        return self._cut(row, FROM_WIDE)

    def augmented(self, row: int, rng: Rng) -> Image:
        """A crop as other landmarks, cameras and lights might give it."""
        crop = self._cut(row, compose(jitter(rng, CROP.size), FROM_WIDE))
        if rng.random() < 0.5:
            crop = np.ascontiguousarray(crop[:, ::-1])
        crop = degrade(relight(crop, rng), rng, smallest=SMALLEST)
        return cover(crop, rng) if rng.random() < COVERED else crop

    def _cut(self, row: int, matrix: Floats) -> Image:
        return warp(self.crops[row], matrix, (CROP.size, CROP.size), CROP.outside)


COVERED = 0.2
SMALLEST = 16
TURN, ZOOM, SHIFT = 0.03, 0.035, 0.012
"""Spread of a training crop's turn (radians), logarithm of size, and place (parts of its side):
twice that of ``landmark/tiny`` on training photographs."""


def jitter(rng: Rng, size: int) -> NDArray[np.float64]:
    """A small random turn, zoom and shift about the crop's centre, as landmarks err."""
    angle, zoom = rng.normal(0, TURN), np.exp(rng.normal(0, ZOOM))
    c, s = zoom * np.cos(angle), zoom * np.sin(angle)
    linear = np.array([[c, -s], [s, c]])
    centre = np.full(2, size / 2)
    shift = centre - linear @ centre + rng.normal(0, SHIFT * size, 2)
    return np.concatenate([linear, shift[:, None]], 1)
