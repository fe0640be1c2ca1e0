"""Errors of points, directions and masks."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featflow.errors import OptionError
from featflow.evaluation.checks import alike
from featflow.geometry.landmarks import PARTS, interocular

Floats = NDArray[np.floating[Any]]
Normaliser = Literal["interocular", "pupils", "box"]


def landmark_nme(
    truth: ArrayLike, predicted: ArrayLike, by: Normaliser | ArrayLike = "interocular"
) -> NDArray[np.float64]:
    """Mean distance of a face's points from the true ones, over a length of that face.

    Args:
        truth, predicted: (N, 68, 2), or (N, P, 2) with lengths given.
        by: ``"interocular"``: distance of the outer eye corners (the 300W challenge);
            ``"pupils"``: of the eyes' centres; ``"box"``: square root of the area of the box
            about the true points (AFLW2000); or lengths (N,).

    Returns:
        (N,) error as a part of that length; NaN for a face without prediction.
    """
    a, b = alike(truth, predicted)
    if a.ndim != 3 or a.shape[-1] != 2:
        raise OptionError(f"landmarks must be (faces, points, 2), got {a.shape}")
    lengths = face_lengths(a, by) if isinstance(by, str) else np.asarray(by, np.float64)
    if lengths.shape != (len(a),):
        raise OptionError(f"needs a length for each of {len(a)} faces, got {lengths.shape}")
    away = np.linalg.norm(a - b, axis=-1).mean(-1)
    return np.asarray(np.divide(away, lengths, out=np.full(len(a), np.nan), where=lengths > 0))


def face_lengths(landmarks: Floats, by: str) -> NDArray[np.float64]:
    """The length (N,) by which errors of landmarks (N, P, 2) are measured."""
    if by == "box":
        sides = landmarks.max(-2) - landmarks.min(-2)
        return np.asarray(np.sqrt(sides.prod(-1)), np.float64)
    if by not in ("interocular", "pupils"):
        raise OptionError(f"unknown length {by!r}; known: interocular, pupils, box")
    if landmarks.shape[-2] != 68:
        raise OptionError(f"{by!r} is defined for 68 points, got {landmarks.shape[-2]}")
    if by == "interocular":
        return interocular(landmarks)
    right, left = (landmarks[:, list(PARTS[side])].mean(1) for side in ("right_eye", "left_eye"))
    return np.asarray(np.linalg.norm(right - left, axis=-1), np.float64)


def failure_rate(errors: ArrayLike, limit: float = 0.1) -> float:
    """Part of the faces whose error lies above a limit; a face without prediction failed.

    NaN for no faces.
    """
    values = np.asarray(errors, np.float64)
    return float((~(values <= limit)).mean()) if values.size else float("nan")


def direction(pitch: ArrayLike, yaw: ArrayLike) -> NDArray[np.float64]:
    """Unit vectors (..., 3) of a gaze or a nose, from radians.

    x is to the image right, y up, z towards the camera; + pitch looks up and + yaw to the
    subject's right, which is the image left.
    """
    p, y = np.broadcast_arrays(np.asarray(pitch, np.float64), np.asarray(yaw, np.float64))
    return np.stack([-np.sin(y) * np.cos(p), np.sin(p), np.cos(y) * np.cos(p)], -1)


def angular_error(truth: ArrayLike, predicted: ArrayLike) -> NDArray[np.float64]:
    """Angle in radians, 0..pi, between true and predicted directions.

    Exact for small angles, where the arc cosine is not.

    Args:
        truth, predicted: (..., 2) pitch and yaw in radians, or (..., 3) vectors of any length.

    Returns:
        (...) angles; NaN where a direction is missing.
    """
    a, b = (_vectors(side) for side in alike(truth, predicted))
    crossed = np.linalg.norm(np.cross(a, b), axis=-1)
    return np.asarray(np.arctan2(crossed, (a * b).sum(-1)), np.float64)


def _vectors(values: Floats) -> Floats:
    if values.shape[-1:] == (2,):
        return direction(values[..., 0], values[..., 1])
    if values.shape[-1:] != (3,):
        raise OptionError(f"directions are (..., 2) angles or (..., 3) vectors, got {values.shape}")
    return values


def mask_iou(truth: ArrayLike, predicted: ArrayLike) -> NDArray[np.float64]:
    """Intersection over union of masks; boxes are compared by :func:`featflow.geometry.boxes.iou`.

    Args:
        truth, predicted: (N, H, W) truth values, True inside.

    Returns:
        (N,) 0..1; NaN where both masks are empty.
    """
    a, b = np.asarray(truth), np.asarray(predicted)
    if a.shape != b.shape or a.ndim != 3 or a.dtype != np.bool_ or b.dtype != np.bool_:
        raise OptionError(
            f"masks must be truth values (N, H, W), got {a.dtype} {a.shape} and {b.dtype} {b.shape}"
        )
    shared, union = (a & b).sum((1, 2)), (a | b).sum((1, 2))
    return np.asarray(np.divide(shared, union, out=np.full(len(a), np.nan), where=union > 0))
