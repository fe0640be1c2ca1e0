"""Masks of the face and its parts: filled convex hulls of the 68 landmarks.

A mask is 255 inside and 0 outside; on the outline a pixel has the part of it that is covered,
sampled on 6 x 6 points.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from featflow.errors import OptionError
from featflow.geometry.similarity import apply, invert

Floats = NDArray[np.floating[Any]]
Part = Literal["face", "eyes", "mouth", "nose", "brows", "components", "extended"]

PART_NAMES: tuple[Part, ...] = get_args(Part)
_SAMPLES = 6

_CHIN = 8
COMPONENTS: tuple[tuple[int, ...], ...] = (
    (*range(9), 17),
    (*range(8, 17), 26),
    (*range(17, 20), _CHIN),
    (*range(24, 27), _CHIN),
    (*range(19, 25), _CHIN),
    (*range(17, 22), 27, *range(31, 36), _CHIN),
    (*range(22, 27), 27, *range(31, 36), _CHIN),
    tuple(range(27, 36)),
)
"""Eight overlapping hulls that make up a face: both jaws, both cheeks, the ridge of the nose,
both eyes with their brows, and the nose. Their union follows hollow temples and cheeks, which
one hull around all points would bridge."""

HULLS: MappingProxyType[Part, tuple[tuple[int, ...], ...]] = MappingProxyType(
    {
        "face": (tuple(range(68)),),
        "eyes": (tuple(range(36, 42)), tuple(range(42, 48))),
        "mouth": (tuple(range(48, 60)),),
        "nose": (tuple(range(27, 36)),),
        "brows": (tuple(range(17, 22)), tuple(range(22, 27))),
        "components": COMPONENTS,
        "extended": COMPONENTS,
    }
)
"""Landmarks whose convex hulls make up each part."""

# The point below each brow point: a quarter of the way from the eye corner to the jaw for the
# outermost, then the upper rim of the eye.
_BROWS = np.arange(17, 27)
_BELOW = np.array([36, 36, 37, 38, 39, 42, 43, 44, 45, 45])


def lift_brows(landmarks: Floats) -> NDArray[np.float64]:
    """Landmarks (..., 68, 2) whose brow points stand half their distance to the eye higher.

    The brows then reach up the forehead, so that hulls cover part of it.
    """
    lifted = np.array(landmarks, np.float64)
    below = lifted[..., _BELOW, :]
    below[..., 0, :] += 0.25 * (lifted[..., 0, :] - lifted[..., 36, :])
    below[..., -1, :] += 0.25 * (lifted[..., 16, :] - lifted[..., 45, :])
    lifted[..., _BROWS, :] += 0.5 * (lifted[..., _BROWS, :] - below)
    return lifted


def hull_masks(
    landmarks: Floats,
    matrices: Floats,
    frame_sizes_px: NDArray[np.integer[Any]],
    size: int,
    part: Part = "face",
) -> NDArray[np.uint8]:
    """Masks of one part of each face, drawn on crops.

    Args:
        landmarks: (N, 68, 2) original-frame pixels.
        matrices: (N, 2, 3) maps from frame to crop.
        frame_sizes_px: (N, 2) height and width of the frames.
        size: side of the crops in pixels.
        part: what to fill; ``components`` is the union of eight hulls, ``extended`` the same
            after :func:`lift_brows`, ``face`` one hull around all points.

    Returns:
        (N, size, size) uint8, 0..255; 0 wherever a pixel's centre lies off the frame, and all 0
        for a face whose landmarks or matrix are not finite.

    Raises:
        OptionError: ``part`` is unknown.
    """
    if part not in HULLS:
        raise OptionError(f"unknown mask part {part!r}; known parts: {', '.join(PART_NAMES)}")
    points = lift_brows(landmarks) if part == "extended" else np.asarray(landmarks, np.float64)
    on_crop = apply(matrices, points)
    masks = np.zeros((len(on_crop), size, size), np.uint8)
    for mask, face, matrix, frame in zip(masks, on_crop, matrices, frame_sizes_px, strict=True):
        if np.isfinite(face).all() and np.isfinite(matrix).all():
            mask[:] = fill_hulls([face[list(rows)] for rows in HULLS[part]], size)
            mask[~on_frame(matrix, frame, size)] = 0
    return masks


def fill_hulls(groups: list[NDArray[np.float64]], size: int) -> NDArray[np.uint8]:
    """Union of the convex hulls of groups of points (P, 2), on a (size, size) picture."""
    mask = np.zeros((size, size), np.uint8)
    every = np.concatenate(groups)
    x0, y0 = np.clip(np.floor(every.min(0)), 0, size).astype(int)
    x1, y1 = np.clip(np.ceil(every.max(0)), 0, size).astype(int)
    if x1 > x0 and y1 > y0:
        # Each hull opens and closes once a row; what is open anywhere along a row is inside.
        changes = np.zeros(((y1 - y0) * _SAMPLES, (x1 - x0) * _SAMPLES + 1), np.int8)
        for points in groups:
            _open_and_close(changes, (points - [x0, y0]) * _SAMPLES)
        inside = np.cumsum(changes[:, :-1], 1, dtype=np.int8) > 0
        fine = inside.view(np.uint8) * np.uint8(255)
        area = cv2.resize(fine, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)
        mask[y0:y1, x0:x1] = area
    return mask


def _open_and_close(changes: NDArray[np.int8], points: NDArray[np.float64]) -> None:
    """Add 1 where the hull of ``points`` begins in a row of pixel centres, -1 where it ends."""
    height, width = changes.shape[0], changes.shape[1] - 1
    top, bottom = points[:, 1].min(), points[:, 1].max()
    first, last = np.clip(np.round([top, bottom]), 0, height).astype(int)
    rows = np.arange(first, last)
    ends = np.ceil(np.array(_spans(points, rows + 0.5)) - 0.5)
    left, right = np.clip(ends, 0, width).astype(int)
    filled = left < right
    changes[rows[filled], left[filled]] += 1
    changes[rows[filled], right[filled]] -= 1


def _spans(points: Floats, rows: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Leftmost and rightmost x of the hull of ``points`` at the heights ``rows``."""
    corners = cv2.convexHull(points.astype(np.float32))[:, 0].astype(np.float64)
    ends = np.roll(corners, -1, axis=0)
    (x0, y0), (x1, y1) = corners.T[..., None], ends.T[..., None]
    crosses = (np.minimum(y0, y1) <= rows) & (rows < np.maximum(y0, y1))
    with np.errstate(divide="ignore", invalid="ignore"):
        x = x0 + (rows - y0) / (y1 - y0) * (x1 - x0)
    left = np.where(crosses, x, np.inf).min(0)
    return left, np.where(crosses, x, -np.inf).max(0)


def on_frame(matrix: Floats, frame_size_px: Floats, size: int) -> NDArray[np.bool_]:
    """Which pixels of a crop have their centre on the frame, (size, size).

    Args:
        matrix: (2, 3) map from frame to crop.
        frame_size_px: height and width of the frame.
        size: side of the crop.
    """
    back = invert(matrix)
    centre = np.arange(size) + 0.5
    x = back[0, 0] * centre + back[0, 1] * centre[:, None] + back[0, 2]
    y = back[1, 0] * centre + back[1, 1] * centre[:, None] + back[1, 2]
    height, width = frame_size_px
    return np.asarray((x >= 0) & (x < width) & (y >= 0) & (y < height), bool)
