"""Cutting upright crops out of frames: the one place where featflow resamples a face.

Everything here speaks continuous pixels (the centre of pixel 0 lies at 0.5, see
:mod:`featflow.geometry.similarity`); OpenCV counts from pixel centres, and the shift
between the two is applied here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from featflow.geometry.similarity import apply, compose, invert, scale_of

Outside = Literal["zero", "replicate", "reflect"]

_BORDER = {
    "zero": cv2.BORDER_CONSTANT,
    "replicate": cv2.BORDER_REPLICATE,
    "reflect": cv2.BORDER_REFLECT_101,
}
_LARGEST_BLOCK = 64
_TO_CORNER = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5]])
_TO_CENTRE = np.array([[1.0, 0.0, -0.5], [0.0, 1.0, -0.5]])


def warp(
    image: NDArray[np.uint8],
    matrix: NDArray[np.floating[Any]],
    size: tuple[int, int],
    outside: Outside = "zero",
) -> NDArray[np.uint8]:
    """Resample ``image`` through an affine map, bilinear, averaged when it shrinks.

    Args:
        image: (H, W, 3) or (H, W) uint8.
        matrix: (2, 3) map from image to output, continuous pixels.
        size: (height, width) of the output.
        outside: what lies beyond the picture: black, its edge, or its mirror image.

    Returns:
        (height, width, 3) or (height, width) uint8; all zero where ``matrix`` is not finite.
    """
    height, width = size
    if image.size == 0 or not np.isfinite(matrix).all() or scale_of(matrix) == 0:
        return np.zeros((height, width, *image.shape[2:]), np.uint8)
    image, matrix = _shrink_first(image, np.asarray(matrix, np.float64), size, outside)
    at_centres = compose(_TO_CENTRE, compose(matrix, _TO_CORNER))
    result = cv2.warpAffine(
        image, at_centres, (width, height), flags=cv2.INTER_LINEAR, borderMode=_BORDER[outside]
    )
    return np.asarray(result, np.uint8)


def _shrink_first(
    image: NDArray[np.uint8],
    matrix: NDArray[np.float64],
    size: tuple[int, int],
    outside: Outside,
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Average blocks of pixels so that the bilinear step never skips any of them.

    Only what the output can see is averaged, with a border of what lies beyond the picture.
    Blocks are whole pixels and start where the output starts: a crop that shrinks by a whole
    number from a whole pixel is an exact mean of the pixels under each output pixel.
    """
    while (step := _block(matrix)).max() > 1:
        low, count = _blocks_seen(matrix, size, image.shape[:2], step, outside)
        if (count < 1).any():
            break
        part = _part(image, low, low + count * step, outside)
        small = cv2.resize(part, count.tolist(), interpolation=cv2.INTER_AREA)
        image = np.asarray(small, np.uint8)
        to_frame = np.array([[step[0], 0.0, low[0]], [0.0, step[1], low[1]]])
        matrix = compose(matrix, to_frame)
    return image, matrix


def _block(matrix: NDArray[np.float64]) -> NDArray[np.int64]:
    """Width and height in image pixels of the blocks to average; 1 where nothing shrinks."""
    shrink = 1.0 / np.linalg.norm(matrix[:, :2], axis=0)
    whole = np.clip(np.floor(shrink + 1e-6), 1, _LARGEST_BLOCK)
    return np.asarray(whole, np.int64)


def _blocks_seen(
    matrix: NDArray[np.float64],
    size: tuple[int, int],
    image_size: tuple[int, ...],
    step: NDArray[np.int64],
    outside: Outside,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First pixel (x, y) and number (x, y) of the blocks that the output can see."""
    height, width = size
    corners = np.array([[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]])
    seen = apply(invert(matrix), corners)
    side = np.array([image_size[1], image_size[0]])
    # Two blocks beyond the edge, one is wholly outside: from there on zero stays zero and the
    # edge stays the edge. A mirror image changes further out, for as long as the picture is.
    margin = np.maximum(2 * step, side) if outside == "reflect" else 2 * step
    low = np.floor(seen.min(0) + 1e-6).astype(np.int64) - step
    low += np.maximum(np.ceil((-margin - low) / step), 0).astype(np.int64) * step
    high = np.minimum(np.ceil(seen.max(0) - 1e-6).astype(np.int64) + step, side + margin)
    off_picture = (low >= side) | (high <= 0)
    return low, np.where(off_picture, 0, -((low - high) // step))


def _part(
    image: NDArray[np.uint8],
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    outside: Outside,
) -> NDArray[np.uint8]:
    """The pixels from ``low`` up to ``high`` (x, y), also where they lie off the picture."""
    height, width = image.shape[:2]
    before = np.maximum(-low, 0)
    after = np.maximum(high - [width, height], 0)
    if outside == "reflect" and (before.any() or after.any()):
        columns, rows = _reflected(low[0], high[0], width), _reflected(low[1], high[1], height)
        return image[rows[:, None], columns]
    x0, y0 = low + before
    x1, y1 = high - after
    part = image[y0:y1, x0:x1]
    if not (before.any() or after.any()):
        return part
    padded = cv2.copyMakeBorder(
        part, int(before[1]), int(after[1]), int(before[0]), int(after[0]), _BORDER[outside]
    )
    return np.asarray(padded, np.uint8)


def _reflected(start: int, stop: int, length: int) -> NDArray[np.int64]:
    """Pixel that a mirror at the outermost pixels shows at each position from start to stop."""
    period = max(2 * (length - 1), 1)
    position = np.arange(start, stop) % period
    return np.minimum(position, period - position) if length > 1 else position * 0


def warp_faces(
    images: Sequence[NDArray[np.uint8]],
    image_of_face: NDArray[np.integer[Any]],
    matrices: NDArray[np.floating[Any]],
    size: int,
    outside: Outside = "zero",
) -> NDArray[np.uint8]:
    """Cut one square crop a face.

    Args:
        images: pictures, each (H, W, 3) uint8.
        image_of_face: (N,) which picture each face stands in.
        matrices: (N, 2, 3) map from that picture to the crop.
        size: side of the crops.
        outside: see :func:`warp`.

    Returns:
        (N, size, size, 3) uint8.
    """
    crops = np.zeros((len(matrices), size, size, 3), np.uint8)
    for row, (picture, matrix) in enumerate(zip(image_of_face, matrices, strict=True)):
        crops[row] = warp(images[int(picture)], matrix, (size, size), outside)
    return crops
