"""Making a photo or drawing of any size into the square still that the core takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from featflow.errors import ArrayError, ImageError, MissingInputError

Image = NDArray[np.uint8]

SIDE = 512


def read_still(path: str | Path) -> Image:
    """A picture file as (H, W, 4) BGRA uint8, turned as its EXIF data says.

    Raises:
        MissingInputError: no such file.
        ImageError: not a picture.
    """
    from PIL import Image as Pillow
    from PIL import ImageOps

    path = Path(path)
    if not path.is_file():
        raise MissingInputError(str(path), "no such picture")
    try:
        with Pillow.open(path) as opened:
            rgba = np.asarray(ImageOps.exif_transpose(opened).convert("RGBA"))
    except (OSError, ValueError, SyntaxError) as error:
        raise ImageError(str(path), f"cannot be read as a picture: {error}") from error
    return np.ascontiguousarray(rgba[..., [2, 1, 0, 3]])


def fit_still(
    image: Image, landmarks: NDArray[np.floating[Any]] | None = None, side: int = SIDE
) -> tuple[Image, NDArray[np.float64] | None]:
    """Cut a square of a picture that shows the head, and scale it to ``side``.

    With landmarks the square spans four eye distances around the face, or the whole picture's
    shorter side if that is less; without, it is the middle of the picture. What lies beyond an
    opaque picture repeats its edge.

    Args:
        image: (H, W, 4) BGRA uint8.
        landmarks: (68, 2) continuous pixels of ``image``.
        side: height and width of the result.

    Returns:
        (side, side, 4), and the landmarks in it.
    """
    if image.ndim != 3 or image.shape[2] != 4 or image.dtype != np.uint8:
        raise ArrayError("image", "is not (H, W, 4) uint8", "read it with read_still")
    height, width = image.shape[:2]
    centre, span = np.array([width / 2, height / 2]), float(min(height, width))
    if landmarks is not None:
        points = np.asarray(landmarks, np.float64)
        eyes = float(np.linalg.norm(points[45] - points[36]))
        span = min(max(4.0 * eyes, 1.0), float(max(height, width)))
        centre = (points.min(0) + points.max(0)) / 2
        low, high = np.minimum(span / 2, [width / 2, height / 2]), np.array([width, height])
        centre = np.clip(centre, low, high - low)
    corner = centre - span / 2
    scale = side / span
    # OpenCV counts from pixel centres, this function from the corner of the first pixel.
    shift = -corner * scale + 0.5 * scale - 0.5
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    method = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    square = _resampled(image, matrix, scale, side, method)
    return square, None if landmarks is None else (points - corner) * scale


def _resampled(image: Image, matrix: NDArray[Any], scale: float, side: int, method: int) -> Image:
    from featflow.animate.sampling import premultiply, unpremultiply

    flat = premultiply(image)
    if scale < 1:
        # Averaging first, so that no pixel is skipped; the remaining step is a shift.
        size = tuple(max(round(s * scale), 1) for s in image.shape[1::-1])
        flat = np.asarray(cv2.resize(flat, (size[0], size[1]), interpolation=cv2.INTER_AREA))
        factor = np.array([size[0] / image.shape[1], size[1] / image.shape[0]])
        shrunk = matrix.copy()
        shrunk[:, :2] = np.diag(scale / factor)
        shrunk[:, 2] = matrix[:, 2] + 0.5 - 0.5 * scale + 0.5 * (scale / factor) - 0.5
        matrix, method = shrunk, cv2.INTER_LINEAR
    moved = cv2.warpAffine(
        flat, matrix, (side, side), flags=method, borderMode=cv2.BORDER_REPLICATE
    )
    clipped = np.clip(np.asarray(moved, np.float32), 0, 255)
    clipped[..., :3] = np.minimum(clipped[..., :3], clipped[..., 3:])
    return unpremultiply(clipped)
