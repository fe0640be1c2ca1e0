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

from featflow.geometry.similarity import compose, invert, scale_of

Outside = Literal["zero", "replicate", "reflect"]

_BORDER = {
    "zero": cv2.BORDER_CONSTANT,
    "replicate": cv2.BORDER_REPLICATE,
    "reflect": cv2.BORDER_REFLECT_101,
}
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
    image, matrix = _shrink_first(image, np.asarray(matrix, np.float64), size)
    at_centres = compose(_TO_CENTRE, compose(matrix, _TO_CORNER))
    result: NDArray[np.uint8] = cv2.warpAffine(
        image, at_centres, (width, height), flags=cv2.INTER_LINEAR, borderMode=_BORDER[outside]
    )
    return result


def _shrink_first(
    image: NDArray[np.uint8], matrix: NDArray[np.float64], size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Average blocks of pixels so that the bilinear step never skips any of them.

    Only the part of the picture that the output can see is averaged; the factor is whole,
    so that every block is an exact mean and the map stays exact.
    """
    factor = int(1.0 / scale_of(matrix))
    if factor < 2:
        return image, matrix
    height, width = size
    corners = np.array([[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]])
    back = invert(matrix)
    seen = corners @ back[:, :2].T + back[:, 2]
    low = np.floor(seen.min(0) / factor - 1).astype(int) * factor
    high = np.ceil(seen.max(0) / factor + 1).astype(int) * factor
    x0, y0 = np.maximum(low, 0)
    x1, y1 = np.minimum(high, [image.shape[1], image.shape[0]])
    x1, y1 = x1 - (x1 - x0) % factor, y1 - (y1 - y0) % factor
    if x1 - x0 < factor or y1 - y0 < factor:
        return image, matrix
    part = image[y0:y1, x0:x1]
    small: NDArray[np.uint8] = cv2.resize(
        part, ((x1 - x0) // factor, (y1 - y0) // factor), interpolation=cv2.INTER_AREA
    )
    to_frame = np.array([[factor, 0.0, x0], [0.0, factor, y0]])
    return small, compose(matrix, to_frame)


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
