"""Crops with masks: hair-free faces of ``face_masks.npz``, and bounds where there is no mask."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from featflow.datasets.labelled import Image, LabelledFaces
from featflow.errors import MissingInputError
from featflow.geometry.hull_masks import fill_hulls, on_frame
from featflow.geometry.similarity import apply, compose, invert
from featflow.geometry.warp import warp
from featflow.nodes.mask.tiny.node import CROP
from featflow.train.photometric import Rng, cover, degrade, relight

Floats = NDArray[np.floating[Any]]

LABEL_SIZE, LABEL_SPAN = 96, 1.8
"""Side of a label in pixels, and in longer sides of the box of the mesh."""

FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
"""Outline of the MediaPipe face mesh, a closed line."""

_INNER = slice(27, 68)
_OVAL_MARGIN = 1.05
_SMALLEST = 24


@dataclass(frozen=True)
class MaskedFaces:
    """Labelled photographs with what is known of their masks.

    Attributes:
        faces: the labels.
        masks: row of ``faces`` to its label (96, 96) uint8, 255 on the face.
        ovals: (N, 36, 2) outline of the mesh in original pixels.
        frames: (N, 2, 3) maps from original pixels to the label.
    """

    faces: LabelledFaces
    masks: dict[int, NDArray[np.uint8]] = field(repr=False)
    ovals: Floats = field(repr=False)
    frames: Floats = field(repr=False)

    @classmethod
    def open(cls, root: str | Path, split: str, source: str | None = None) -> MaskedFaces:
        """Read ``labels.parquet``, ``face_masks.npz`` and ``mesh478.npz``.

        Args:
            root: folder of the labelled faces.
            split: ``"train"`` or ``"val"``.
            source: only photographs of this source.
        """
        every = LabelledFaces.open(root)
        table = every.table
        keep = (table["split"] == split).to_numpy()
        if source is not None:
            keep &= (table["source"] == source).to_numpy()
        rows = np.flatnonzero(keep)
        faces = LabelledFaces(every.root, table[rows.tolist()])
        mesh = _arrays(every.root / "mesh478.npz")["mesh"][rows][:, FACE_OVAL, :2]
        box = faces.table.select("box_x0", "box_y0", "box_x1", "box_y1").to_numpy()
        corner, size = box[:, None, :2], (box[:, 2:] - box[:, :2])[:, None]
        ovals = corner + mesh.astype(float) * size
        return cls(faces, _labels(every.root, rows), ovals, label_maps(box))

    def __len__(self) -> int:
        return len(self.faces)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        raise MissingInputError(
            str(path), "no such file", "set [data] root to the folder of labelled faces"
        )
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def _labels(root: Path, rows: NDArray[np.int64]) -> dict[int, NDArray[np.uint8]]:
    """Masks of those rows of the whole table that have one, by their place in ``rows``."""
    stored = _arrays(root / "face_masks.npz")
    place = {int(row): at for at, row in enumerate(rows)}
    return {
        place[int(row)]: np.unpackbits(bits, axis=-1) * np.uint8(255)
        for row, bits in zip(stored["row"], stored["face"], strict=True)
        if int(row) in place
    }


def label_maps(box: Floats) -> NDArray[np.float64]:
    """Maps (N, 2, 3) from original pixels to the labels of faces with mesh boxes (N, 4)."""
    scale = LABEL_SIZE / (LABEL_SPAN * (box[:, 2:] - box[:, :2]).max(1))
    maps = np.zeros((len(box), 2, 3))
    maps[:, 0, 0] = maps[:, 1, 1] = scale
    maps[:, :, 2] = LABEL_SIZE / 2 - scale[:, None] * (box[:, :2] + box[:, 2:]) / 2
    return maps


@dataclass(frozen=True, slots=True)
class Sample:
    """A crop, its mask 0..1 and which pixels of that are known, each (96, 96)."""

    crop: Image
    mask: Floats
    known: NDArray[np.bool_]


class MaskSet:
    """How training crops are cut from photographs with masks, or with bounds of them.

    Args:
        labelled: photographs and labels.
    """

    def __init__(self, labelled: MaskedFaces) -> None:
        self.labelled = labelled
        self.images: list[Image] = labelled.faces.read_all()
        self.landmarks = labelled.faces.landmarks.astype(np.float64)
        self.matrices = CROP.matrices(SimpleNamespace(landmarks=self.landmarks))

    def __len__(self) -> int:
        return len(self.images)

    def plain(self, row: int) -> Sample:
        """The crop that the node itself would cut from the labels' landmarks."""
        return self._sample(row, self.matrices[row])

    def augmented(self, row: int, rng: Rng) -> Sample:
        """As other landmarks, another camera and another light might give it."""
        sample = self._sample(row, compose(jitter(rng), self.matrices[row]))
        crop = degrade(relight(sample.crop, rng), rng, _SMALLEST)
        mask, known = sample.mask, sample.known
        if rng.random() < 0.5:
            crop, mask, known = crop[:, ::-1], mask[:, ::-1], known[:, ::-1]
        if rng.random() < 0.15:
            # What is covered is not the visible face; the label does not know of the cover.
            crop, before = cover(crop, rng), crop
            mask = mask * (crop == before).all(-1)
        return Sample(crop, mask, known)

    def _sample(self, row: int, matrix: Floats) -> Sample:
        image, size = self.images[row], (CROP.size, CROP.size)
        crop = warp(image, matrix, size)
        seen = on_frame(matrix, np.array(image.shape[:2]), CROP.size)
        label = self.labelled.masks.get(row)
        if label is not None:
            there = compose(matrix, invert(self.labelled.frames[row]))
            mask = warp(label, there, size) / np.float32(255)
            return Sample(crop, mask * seen, np.ones(size, bool))
        inner, outer = self._bounds(row, matrix)
        return Sample(crop, (inner & seen).astype(np.float32), inner | ~outer | ~seen)

    def _bounds(self, row: int, matrix: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """What is face for certain (between eyes and mouth), and what may be (in the oval)."""
        inner = fill_hulls([apply(matrix, self.landmarks[row, _INNER])], CROP.size) > 127
        oval = apply(matrix, self.labelled.ovals[row])
        wide = oval.mean(0) + _OVAL_MARGIN * (oval - oval.mean(0))
        outer = np.zeros((CROP.size, CROP.size), np.uint8)
        cv2.fillPoly(outer, [np.round((wide - 0.5) * 16).astype(np.int32)], 1, shift=4)
        return inner, outer > 0


def jitter(rng: Rng) -> NDArray[np.float64]:
    """A small random turn, zoom and shift about the middle of the crop."""
    # No more than landmarks err: where the oval ends on a bare forehead, only its place tells.
    angle, zoom = rng.normal(0, 0.06), np.exp(rng.normal(0, 0.04))
    c, s = zoom * np.cos(angle), zoom * np.sin(angle)
    linear = np.array([[c, -s], [s, c]])
    centre = np.full(2, CROP.size / 2)
    shift = centre - linear @ centre + rng.normal(0, 1.5, 2)
    return np.concatenate([linear, shift[:, None]], 1)
