"""The aligned, masked face that the published HOG classifiers were trained on.

The geometry is that of OpenFace's and py-feat's feature extraction: five anchors of the 68
points, the eyes made level, a square 2.5 times as large as the anchors' extent, and all but
the convex hull of the points and a box above it (the forehead) set to 0.

Everything in this module counts from pixel centres (the centre of the first pixel is 0),
because the published features do; featflow's own coordinates less 0.5.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from featflow.errors import ArrayError
from featflow.geometry.similarity import apply

Floats = NDArray[np.floating[Any]]

SIZE = 112
ENLARGE = 2.5


def alignment(landmarks: Floats, size: int = SIZE) -> NDArray[np.float64]:
    """Maps that make the eyes level and fit the face into a square.

    Args:
        landmarks: (N, 68, 2) iBUG-68 points, counted from pixel centres.
        size: side of the square in pixels.

    Returns:
        (N, 2, 3); NaN where the eyes coincide.
    """
    points = np.asarray(landmarks, np.float64)
    if points.ndim != 3 or points.shape[1:] != (68, 2):
        raise ArrayError("landmarks", f"have shape {points.shape}, need (N, 68, 2)")
    eyes = np.stack([points[:, 36:42].mean(1), points[:, 42:48].mean(1)], 1)
    anchors = np.concatenate([eyes, points[:, [30, 48, 54]]], 1)
    across = eyes[:, 1] - eyes[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        cos, sin = (across / np.linalg.norm(across, axis=1, keepdims=True)).T
    level = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], 1)
    turned = np.einsum("nij,npj->npi", level, anchors)
    low, high = turned.min(1), turned.max(1)
    half = 0.5 * ENLARGE * (high - low).max(1)
    scale = (size - 1) / 2 / half
    shift = scale[:, None] * (half[:, None] - (low + high) / 2)
    return np.concatenate([scale[:, None, None] * level, shift[:, :, None]], 2)


def face_mask(points: NDArray[np.integer[Any]], size: int = SIZE) -> NDArray[np.bool_]:
    """Pixels of one aligned face that the features may see.

    Args:
        points: (68, 2) whole aligned pixels.
        size: side of the picture.

    Returns:
        (size, size): the closed convex hull of the points, and the box from the top edge down
        to the higher end of the jaw line, between its two ends.
    """
    hull = cv2.convexHull(np.asarray(points, np.int32))[:, 0].astype(np.int64)
    edge = np.roll(hull, -1, 0) - hull
    y, x = np.mgrid[:size, :size]
    side = edge[:, 0, None, None] * (y - hull[:, 1, None, None])
    side -= edge[:, 1, None, None] * (x - hull[:, 0, None, None])
    # The hull's direction of turning depends on the library; a point within has one sign.
    mask = (side >= 0).all(0) | (side <= 0).all(0)
    top = max(int(min(points[0, 1], points[16, 1])), 0)
    left, right = (max(int(points[end, 0]), 0) for end in (0, 16))
    mask[:top, left:right] = True
    return np.asarray(mask, bool)


def aligned_faces(
    images: NDArray[np.floating[Any]], landmarks: Floats, size: int = SIZE, fill: float = 0.0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Cut, turn and mask faces for :func:`featflow.features.hog.hog`.

    Args:
        images: (N, H, W, 3), 0 to 1, one face each.
        landmarks: (N, 68, 2) in those images, counted from pixel centres.
        size: side of the result.
        fill: value beyond the image. The published pipeline has 128 here, which draws a false
            edge wherever the aligned square leaves the crop.

    Returns:
        Faces (N, size, size, 3) and the points in them, (N, 68, 2), cut off to whole pixels.
        Where landmarks are not finite, both are 0.
    """
    usable = np.asarray(np.isfinite(landmarks).all((1, 2)), bool)
    faces = np.zeros((len(images), size, size, 3), np.float32)
    points = np.zeros((len(images), 68, 2), np.int64)
    matrices = alignment(np.where(usable[:, None, None], landmarks, 0.0), size)
    for row in np.flatnonzero(usable & np.isfinite(matrices).all((1, 2))):
        points[row] = apply(matrices[row], landmarks[row]).astype(np.int64)
        picture = np.ascontiguousarray(images[row], np.float32)
        faces[row] = cv2.warpAffine(
            picture, matrices[row], (size, size), flags=cv2.INTER_LINEAR, borderValue=(fill,) * 3
        )
        faces[row] *= face_mask(points[row], size)[..., None]
    return faces, points
