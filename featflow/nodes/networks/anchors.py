"""RetinaFace's anchors and the decoding of what it says about them (Liu et al. 2016, SSD)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.geometry.boxes import nms

Floats = NDArray[np.floating[Any]]

STRIDES = (8, 16, 32)
SIZES = ((16, 32), (64, 128), (256, 512))
CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2


def retinaface_anchors(height: int, width: int) -> NDArray[np.float64]:
    """Anchors of a picture, in the order of RetinaFace's outputs.

    Args:
        height, width: of the network's input in pixels.

    Returns:
        (A, 4) centre x, centre y, width, height in pixels: finest level first, then by row,
        column and size. Anchors reach beyond the picture where they stand at its edge.
    """
    levels = []
    for stride, sizes in zip(STRIDES, SIZES, strict=True):
        rows, columns = -(-height // stride), -(-width // stride)
        y, x, size = np.meshgrid(
            (np.arange(rows) + 0.5) * stride,
            (np.arange(columns) + 0.5) * stride,
            np.array(sizes, np.float64),
            indexing="ij",
        )
        levels.append(np.stack([x, y, size, size], -1).reshape(-1, 4))
    return np.concatenate(levels)


def decode_boxes(deltas: Floats, anchors: Floats) -> NDArray[np.float64]:
    """Box deltas (..., A, 4) of anchors (A, 4) to ``x0, y0, x1, y1`` in pixels."""
    d, a = np.asarray(deltas, np.float64), np.asarray(anchors, np.float64)
    centre = a[..., :2] + d[..., :2] * CENTRE_VARIANCE * a[..., 2:]
    half = a[..., 2:] * np.exp(d[..., 2:] * SIZE_VARIANCE) / 2
    return np.concatenate([centre - half, centre + half], -1)


def decode_points(deltas: Floats, anchors: Floats) -> NDArray[np.float64]:
    """Point deltas (..., A, 10) of anchors (A, 4) to five points (..., A, 5, 2) in pixels.

    Order: eyes, nose tip, mouth corners, image left first.
    """
    d, a = np.asarray(deltas, np.float64), np.asarray(anchors, np.float64)
    offsets = d.reshape(*d.shape[:-1], 5, 2) * CENTRE_VARIANCE
    return np.asarray(a[..., None, :2] + offsets * a[..., None, 2:], np.float64)


def retinaface_faces(
    deltas: Floats,
    scores: Floats,
    points: Floats,
    anchors: Floats,
    *,
    min_score: float = 0.5,
    iou_threshold: float = 0.4,
    most_candidates: int = 5000,
    most_faces: int = 750,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Faces of one picture from RetinaFace's outputs.

    Args:
        deltas: (A, 4).
        scores: (A, 2) probabilities of background and face.
        points: (A, 10).
        anchors: (A, 4) of :func:`retinaface_anchors`.
        min_score: faces below it are left out.
        iou_threshold: overlap above which the weaker of two boxes is dropped.
        most_candidates: boxes that enter the suppression, best first.
        most_faces: faces returned, best first.

    Returns:
        Boxes (N, 4), scores (N,) and points (N, 5, 2) in pixels, best first.
    """
    face = np.asarray(scores, np.float64)[:, 1]
    rows = np.flatnonzero(face >= min_score)
    rows = rows[np.argsort(-face[rows], kind="stable")[:most_candidates]]
    boxes = decode_boxes(deltas[rows], anchors[rows])
    kept = nms(boxes, face[rows], iou_threshold)[:most_faces]
    return boxes[kept], face[rows][kept], decode_points(points[rows[kept]], anchors[rows[kept]])
