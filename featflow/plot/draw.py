"""Drawing faces into a picture with OpenCV, fast enough for every frame of a clip."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featflow.errors import ArrayError
from featflow.plot.shapes import (
    AXIS_COLOURS,
    BOX_COLOUR,
    PATHS,
    POINT_COLOUR,
    FaceShapes,
)

_FRACTION_BITS = 4  # OpenCV takes sixteenths of a pixel as whole numbers
_FAR = 1 << 14  # beyond any picture; OpenCV's fixed-point numbers overflow further out


def draw_faces(
    image: NDArray[np.uint8],
    rows: pd.DataFrame,
    *,
    boxes: bool = True,
    landmarks: bool = True,
    poses: bool = True,
) -> NDArray[np.uint8]:
    """A copy of a picture with faces drawn on it.

    Args:
        image: (H, W, 3) uint8 RGB in original pixels.
        rows: the picture's rows of a table; rows without a face draw nothing.
        boxes: draw detections. The line lies inside the box.
        landmarks: draw the 68 points, joined.
        poses: draw the head's axes: subject's left red, up green, forward blue.

    Raises:
        ArrayError: ``image`` is not (H, W, 3) uint8.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ArrayError("image", f"is {image.shape} {image.dtype}, must be (H, W, 3) uint8 RGB")
    canvas = np.ascontiguousarray(image).copy()
    paint(canvas, FaceShapes.from_rows(rows), boxes=boxes, landmarks=landmarks, poses=poses)
    return canvas


def paint(
    canvas: NDArray[np.uint8],
    shapes: FaceShapes,
    *,
    boxes: bool = True,
    landmarks: bool = True,
    poses: bool = True,
) -> None:
    """Draw shapes into ``canvas``, (H, W, 3) uint8 RGB and contiguous, in place."""
    width = line_width(canvas.shape[0], canvas.shape[1])
    for i in range(len(shapes)):
        if boxes and np.isfinite(shapes.box[i]).all():
            _box(canvas, shapes.box[i], width)
        if landmarks and np.isfinite(shapes.points[i]).all():
            _points(canvas, shapes.points[i], width)
        if poses and np.isfinite(shapes.axes[i]).all():
            _axes(canvas, shapes.axes[i], width + 1)


def line_width(height: int, width: int) -> int:
    """Pixels that a line needs to be seen on a picture of this size."""
    return max(1, round(min(height, width) / 250))


def _fixed(points: NDArray[np.float64]) -> NDArray[np.int32]:
    """Continuous pixels as OpenCV's, which counts from pixel centres."""
    near = np.clip(points - 0.5, -_FAR, _FAR)
    return np.round(near * (1 << _FRACTION_BITS)).astype(np.int32)


def _box(canvas: NDArray[np.uint8], box: NDArray[np.float64], width: int) -> None:
    corners = np.round(np.clip(box, -_FAR, _FAR)).astype(int)
    x0, y0, x1, y1 = (int(v) for v in corners)
    for i in range(width):  # the last pixel inside a box that ends at x1 is x1 - 1
        if x0 + i < x1 - i and y0 + i < y1 - i:
            cv2.rectangle(canvas, (x0 + i, y0 + i), (x1 - 1 - i, y1 - 1 - i), BOX_COLOUR)


def _points(canvas: NDArray[np.uint8], points: NDArray[np.float64], width: int) -> None:
    fixed = _fixed(points)
    for indices, closed in PATHS:
        path = [fixed[indices.start : indices.stop]]
        cv2.polylines(canvas, path, closed, POINT_COLOUR, 1, cv2.LINE_AA, _FRACTION_BITS)
    radius = (width << _FRACTION_BITS) // 2 + (1 << _FRACTION_BITS) // 2
    for x, y in fixed.tolist():
        cv2.circle(canvas, (x, y), radius, POINT_COLOUR, -1, cv2.LINE_AA, _FRACTION_BITS)


def _axes(canvas: NDArray[np.uint8], axes: NDArray[np.float64], width: int) -> None:
    origin, *tips = _fixed(axes).tolist()
    for tip, colour in zip(tips, AXIS_COLOURS, strict=True):
        cv2.line(canvas, origin, tip, colour, width, cv2.LINE_AA, _FRACTION_BITS)
