"""Photographs with every known face in them, for training and checking a detector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from featflow.datasets.labelled import Image, LabelledFaces, read_rgb
from featflow.errors import MissingInputError
from featflow.train.scenes import Photo

CERTAIN = 0.85
"""Teacher's score from which a face counts as one that must be found."""


def portraits(root: str | Path, split: str) -> list[Photo]:
    """Tight crops (``mux``) with their one face."""
    faces = LabelledFaces.open(root, split)
    source = faces.table["source"].to_list()
    boxes, points = faces.boxes.astype(np.float64), faces.points5.astype(np.float64)
    return [
        Photo(faces.read(row), boxes[row : row + 1], points[row : row + 1], np.ones(1, bool))
        for row in range(len(faces))
        if source[row] == "mux" and np.isfinite(boxes[row]).all()
    ]


def head_and_shoulders(root: str | Path, split: str) -> list[Photo]:
    """``ytf`` photographs with every face that the teacher sees in them."""
    faces = LabelledFaces.open(root, split)
    photos = []
    for row, detections in enumerate(faces.table["detections"].to_list()):
        if faces.table["source"][row] != "ytf":
            continue
        known = np.array([d[:5] for d in detections], np.float64).reshape(-1, 5)
        points = np.full((len(known), 5, 2), np.nan)
        box = faces.boxes[row]
        if np.isfinite(box).all() and len(known):
            same = int(np.abs(known[:, :4] - box).sum(1).argmin())
            points[same] = faces.points5[row]
        photos.append(Photo(faces.read(row), known[:, :4], points, known[:, 4] >= CERTAIN))
    return photos


def scenes(root: str | Path, split: str) -> list[Photo]:
    """``scene`` photographs with boxes and points."""
    root = Path(root)
    path = root / "scenes.parquet"
    if not path.is_file():
        raise MissingInputError(str(path), "no such table", "set [data] root to its folder")
    table = pl.read_parquet(path).filter(pl.col("split") == split)
    return [
        _scene(read_rgb(root / "images" / file), detections)
        for file, detections in zip(table["file"], table["detections"].to_list(), strict=True)
    ]


def _scene(image: Image, detections: list[list[float]]) -> Photo:
    values = np.array(detections, np.float64).reshape(-1, 15)
    return Photo(image, values[:, :4], values[:, 5:].reshape(-1, 5, 2), values[:, 4] >= CERTAIN)


def empty_pictures(root: str | Path, held_out: bool) -> list[Image]:
    """Face-free pictures: every third is held out of training for false-alarm checks."""
    files = empty_files(root)
    return [read_rgb(f) for i, f in enumerate(files) if (i % 3 == 0) == held_out]


def empty_files(root: str | Path) -> list[Path]:
    """All face-free pictures in a fixed order."""
    return sorted((Path(root) / "noface").glob("*.jpg"))
