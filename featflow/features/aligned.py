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
import torch
from numpy.typing import NDArray

from featflow.errors import ArrayError
from featflow.geometry.similarity import apply, invert

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
        Where landmarks are not finite or the eyes coincide, both are 0.
    """
    marks = np.asarray(landmarks, np.float64)
    usable = np.asarray(np.isfinite(marks).all((1, 2)), bool)
    matrices = alignment(np.where(usable[:, None, None], marks, 0.0), size)
    usable &= np.isfinite(matrices).all((1, 2))
    faces = np.zeros((len(images), size, size, 3), np.float32)
    points = np.zeros((len(images), 68, 2), np.int64)
    if usable.any():
        points[usable] = apply(matrices[usable], marks[usable]).astype(np.int64)
        masks = np.stack([face_mask(found, size) for found in points[usable]])
        faces[usable] = _sampled(images[usable], matrices[usable], size, fill)
        faces[usable] *= masks[..., None]
    return faces, points


def _sampled(
    images: NDArray[np.floating[Any]], matrices: NDArray[np.float64], size: int, fill: float
) -> NDArray[np.float32]:
    """Bilinear resampling in single precision; OpenCV's rounds positions to 1/32 pixel."""
    count, height, width = images.shape[:3]
    places = np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1).reshape(1, -1, 2)
    source = apply(invert(matrices), np.broadcast_to(places, (count, size * size, 2)))
    unit = (source + 0.5) * (2.0 / np.array([width, height])) - 1.0
    grid = torch.from_numpy(unit.astype(np.float32).reshape(count, size, size, 2))
    pixels = torch.from_numpy(np.array(images, np.float32)).permute(0, 3, 1, 2)
    sampled = torch.nn.functional.grid_sample(pixels, grid, align_corners=False)
    within = (grid.abs() <= 1).all(-1)[:, None]
    filled = torch.where(within, sampled, torch.tensor(fill))
    return np.asarray(filled.permute(0, 2, 3, 1).numpy(), np.float32)
