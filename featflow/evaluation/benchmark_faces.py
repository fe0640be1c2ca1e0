"""Which detection is the labelled face of a picture, and what the table says of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featflow.datasets.benchmarks import FaceSet
from featflow.detector import Detector
from featflow.fex.schema import IDENTITY_EMBEDDING
from featflow.geometry.boxes import from_xywh, iou

Floats = NDArray[np.floating[Any]]

LEAST_OVERLAP = 0.3
"""Overlap from which a detection is the face in a box; boxes of sets differ in what they hold."""

_BOX = ["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight"]


def seen_values(detector: Detector, data: FaceSet, columns: Sequence[str]) -> NDArray[np.float64]:
    """Columns (N, C) of the detection of each labelled face; NaN for a missed face.

    Where the set gives a box, the detection that overlaps it most and by at least
    :data:`LEAST_OVERLAP`; elsewhere the surest one in the picture. A picture that cannot be read
    is a missed face, and so is a frame that its clip lacks. A column that the node does not give
    is NaN.
    """
    inputs = list(dict.fromkeys(data.inputs))
    fex = detector.detect(inputs, on_error="row", progress_bar=False)
    table = pd.DataFrame(fex)
    table = table[table["FaceScore"] > 0]
    boxes = from_xywh(table[_BOX].to_numpy(float))
    scores = table["FaceScore"].to_numpy(float)
    values = table.reindex(columns=list(columns)).to_numpy(float)
    rows = _rows_of(table, ["input", "frame"])
    found = np.full((len(data), len(columns)), np.nan)
    for face, (path, frame) in enumerate(zip(data.inputs, data.frames.tolist(), strict=True)):
        here = rows.get((str(path), frame))
        at = None if here is None else _labelled(boxes[here], scores[here], data.boxes[face])
        if here is not None and at is not None:
            found[face] = values[here[at]]
    return found


def _rows_of(table: pd.DataFrame, by: str | list[str]) -> dict[Any, NDArray[np.intp]]:
    """Positions of the rows of each picture."""
    groups = table.groupby(by, sort=False).indices
    return {key: np.asarray(rows, np.intp) for key, rows in groups.items()}


def _labelled(boxes: Floats, scores: Floats, label: Floats) -> int | None:
    """Which of the detections in a picture is the labelled face."""
    if not np.isfinite(label).all():
        return int(scores.argmax())
    overlap = iou(boxes, label[None])[:, 0]
    best = int(overlap.argmax())
    return best if overlap[best] >= LEAST_OVERLAP else None


def middle_embeddings(detector: Detector, inputs: Sequence[Path]) -> NDArray[np.float32]:
    """Embedding (N, D) of the face nearest to the middle of each photograph; NaN if none.

    Photographs of LFW and its successors show the person who is meant in the middle.
    """
    fex = detector.detect(list(inputs), on_error="row", progress_bar=False)
    table = pd.DataFrame(fex)
    names = IDENTITY_EMBEDDING.present(table.columns)
    table = table[table["FaceScore"] > 0]
    vectors = table[names].to_numpy(np.float32)
    x, y, width, height = table[_BOX].to_numpy(float).T
    frame = table[["FrameWidth", "FrameHeight"]].to_numpy(float)
    away = np.hypot(x + width / 2 - frame[:, 0] / 2, y + height / 2 - frame[:, 1] / 2)
    rows = _rows_of(table, "input")
    found = np.full((len(inputs), max(1, len(names))), np.nan, np.float32)
    for row, path in enumerate(inputs):
        here = rows.get(str(path))
        if here is not None:
            found[row] = vectors[here[away[here].argmin()]]
    return found
