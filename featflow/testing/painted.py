"""Painted faces with a table that says where they are, for tests and demonstrations."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featflow.fex.meta import new_meta
from featflow.fex.schema import GROUPS
from featflow.fex.table import Fex
from featflow.geometry.hull_masks import HULLS
from featflow.geometry.landmarks import box_of_landmarks
from featflow.geometry.mean_face import FACE68_CM

_LOWER_LIP_AND_CHIN = [6, 7, 8, 9, 10, 55, 56, 57, 58, 59, 65, 66, 67]
_PAINT = (("face", 1.0), ("brows", 0.35), ("eyes", 1.35), ("nose", 0.85), ("mouth", 0.6))


def paint_face(
    landmarks: NDArray[np.floating], size_px: tuple[int, int], skin: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """A flat drawing of a face, (H, W, 3) uint8 RGB.

    Args:
        landmarks: (68, 2) pixels.
        size_px: height and width of the picture.
        skin: red, green and blue of the face; its parts are lighter or darker.
    """
    picture = np.zeros((*size_px, 3), np.uint8)
    picture[:] = np.linspace(40, 120, size_px[1])[None, :, None]
    for part, shade in _PAINT:
        colour = np.clip(np.array(skin) * shade, 0, 255).tolist()
        for rows in HULLS[part]:  # type: ignore[index]  # the names above are parts
            corners = cv2.convexHull(np.rint(landmarks[list(rows)]).astype(np.int32))
            cv2.fillConvexPoly(picture, corners, colour)
    return picture


def random_landmarks(
    rng: np.random.Generator, count: int, size_px: tuple[int, int]
) -> NDArray[np.float64]:
    """Landmarks (N, 68, 2) of the mean face, its mouth more or less open, at random places."""
    height, width = size_px
    angle = rng.normal(0, 0.15, count)
    zoom = rng.uniform(0.030, 0.038, count) * min(size_px)
    linear = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], -1)
    flat = np.repeat((FACE68_CM[:, :2] * [1.0, -1.0])[None], count, 0)
    flat[:, _LOWER_LIP_AND_CHIN, 1] += rng.uniform(0, 1.2, (count, 1))
    turned = np.einsum("nij,npj->npi", linear.reshape(-1, 2, 2), flat) * zoom[:, None, None]
    centre = rng.normal([width / 2, height / 2], 0.03 * min(size_px), (count, 2))
    moved = turned - turned.mean(1, keepdims=True) + centre[:, None]
    return np.asarray(moved, np.float64)


def painted_faces(
    folder: str | Path,
    count: int = 8,
    *,
    identity: str = "Person_1",
    skin: tuple[int, int, int] = (205, 150, 120),
    seed: int = 0,
    size_px: tuple[int, int] = (160, 200),
) -> Fex:
    """Paint photographs into a folder and return their table.

    Args:
        folder: where ``<identity>_000.png``, ... are written.
        count: photographs, one face each.
        identity: what the table calls the person.
        skin: colour of the face.
        seed: of places, sizes and tilts.
        size_px: height and width of the pictures.
    """
    rng = np.random.default_rng(seed)
    points = random_landmarks(rng, count, size_px)
    paths = [Path(folder) / f"{identity}_{number:03}.png" for number in range(count)]
    for path, landmarks in zip(paths, points, strict=True):
        tint = np.clip(np.array(skin) + rng.integers(-12, 13), 0, 255)
        picture = paint_face(landmarks, size_px, (int(tint[0]), int(tint[1]), int(tint[2])))
        cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return table_of(paths, np.zeros(count, np.int64), points, size_px, identity)


def table_of(
    paths: list[Path],
    frames: NDArray[np.int64],
    points: NDArray[np.float64],
    size_px: tuple[int, int],
    identity: str = "Person_1",
) -> Fex:
    """The table of faces whose landmarks (N, 68, 2) are known."""
    boxes = box_of_landmarks(points)
    flat = np.concatenate([points[..., 0], points[..., 1]], 1).astype(np.float32)
    columns = {
        "input": [str(path) for path in paths],
        "frame": frames,
        "time": np.full(len(points), np.nan),
        "FrameHeight": size_px[0],
        "FrameWidth": size_px[1],
        "FaceRectX": boxes[:, 0].astype(np.float32),
        "FaceRectY": boxes[:, 1].astype(np.float32),
        "FaceRectWidth": (boxes[:, 2] - boxes[:, 0]).astype(np.float32),
        "FaceRectHeight": (boxes[:, 3] - boxes[:, 1]).astype(np.float32),
        "FaceScore": np.float32(1.0),
    }
    after = {"Identity": identity, "IdentityScore": 1.0, "Keep": True, "FilterReason": ""}
    parts = [
        pd.DataFrame(columns),
        pd.DataFrame(flat, columns=list(GROUPS["landmark"].names())),
        pd.DataFrame(after, index=range(len(points))),
    ]
    return Fex(pd.concat(parts, axis=1), meta=new_meta())
