"""Aligning a face by its 51 inner points, and three ways to centre a crop on it.

A face is carried to a unit square where its brows, eyes, nose and mouth lie on
:data:`featflow.geometry.mean_face.TEMPLATE51`. A crop is then centred on the square
(``legacy``), on the front of the face (``face``), or on the skull (``head``). The last two are
points in space, so they follow a head that turns. Nodes that look at one eye centre their crop
on it (``right_eye``, ``left_eye``, the subject's).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from featflow.errors import OptionError
from featflow.geometry.landmarks import PARTS
from featflow.geometry.mean_face import FACE68_CM, TEMPLATE51
from featflow.geometry.similarity import apply, compose, umeyama

Floats = NDArray[np.floating[Any]]
Centring = Literal["legacy", "face", "head"]
Eye = Literal["right_eye", "left_eye"]

EYES: tuple[Eye, ...] = get_args(Eye)
"""Centrings of crops that show one eye: the mean of its six points lies in the middle."""

EXTRACT_RATIOS: MappingProxyType[Centring, float] = MappingProxyType(
    {"legacy": 0.375, "face": 0.5, "head": 0.625}
)
"""Part of a crop's side that is padding around the unit square, both sides together."""

FIRST_INNER = 17
"""Points from here on are brows, eyes, nose and mouth; those before are the jaw."""

CENTRES_CM: MappingProxyType[Centring, tuple[float, float, float]] = MappingProxyType(
    {"face": (0.0, 1.322, 3.9), "head": (0.0, 2.147, -1.7)}
)
"""Centres in the coordinates of :data:`featflow.geometry.mean_face.FACE68_CM`. Seen from the
front they lie .167 and .235 of the unit square above its middle, as face extraction has them;
their depths are ours: just behind the surface of the face, and between the ears."""


def align51(landmarks: Floats) -> NDArray[np.float64]:
    """Similarities (N, 2, 3) from landmarks (N, 68, 2) to the unit square; NaN where unknown."""
    return umeyama(np.asarray(landmarks)[..., FIRST_INNER:, :], TEMPLATE51)


def fit_head(landmarks: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scaled orthographic camera that shows the mean head as landmarks (N, 68, 2).

    The least-squares affine camera, and of that the nearest one whose rows are orthogonal and of
    one length (scaled orthography, DeMenthon & Davis 1995).

    Returns:
        (N, 2, 3) cameras that carry centimetres (x to the subject's left, y up, z forward) to
        the units of ``landmarks``, with y down, and (N, 2) where they put the origin.
    """
    points = np.asarray(landmarks, np.float64)
    middle = FACE68_CM.mean(0)
    known = np.isfinite(points).all((1, 2), keepdims=True)
    seen = np.where(known, points, 0.0)
    affine = np.swapaxes(np.linalg.pinv(FACE68_CM - middle) @ (seen - seen.mean(1)[:, None]), 1, 2)
    left, scales, right = np.linalg.svd(affine, full_matrices=False)
    camera = np.where(known, scales.mean(1)[:, None, None] * (left @ right), np.nan)
    return camera, points.mean(1) - camera @ middle


def centring_offsets(aligned: Floats, centring: Centring | Eye) -> NDArray[np.float64]:
    """Where the centre of a crop lies, counted from the middle of the unit square.

    Args:
        aligned: landmarks (N, 68, 2) in the unit square, see :func:`align51`.
        centring: ``"legacy"`` is always (0, 0).

    Returns:
        (N, 2) x, y in units of the square; NaN where landmarks are unknown.

    Raises:
        OptionError: an unknown centring.
    """
    if centring == "right_eye" or centring == "left_eye":
        eye = PARTS[centring]
        return np.asarray(aligned[:, eye.start : eye.stop].mean(1) - 0.5, np.float64)
    _check(centring)
    if centring not in CENTRES_CM:
        return np.zeros((len(aligned), 2))
    camera, origin = fit_head(aligned)
    return np.asarray(camera @ np.array(CENTRES_CM[centring]) + origin - 0.5, np.float64)


def centred_matrices(
    landmarks: Floats, centring: Centring | Eye, size: int, expansion: float
) -> NDArray[np.float64]:
    """Maps (N, 2, 3) from the units of ``landmarks`` to a crop.

    Args:
        landmarks: (N, 68, 2).
        centring: what lies in the middle of the crop.
        size: side of the crop in pixels.
        expansion: how many unit squares the crop spans, see :func:`expansion_of`.
    """
    to_square = align51(landmarks)
    offsets = centring_offsets(apply(to_square, np.asarray(landmarks)), centring)
    to_crop = np.zeros((len(offsets), 2, 3))
    to_crop[:, 0, 0] = to_crop[:, 1, 1] = size / expansion
    to_crop[:, :, 2] = size / 2 - (0.5 + offsets) * (size / expansion)
    return compose(to_crop, to_square)


def expansion_of(centring: Centring, coverage: float = 1.0) -> float:
    """How many unit squares a crop spans.

    Args:
        centring: its padding is :data:`EXTRACT_RATIOS`.
        coverage: part of that crop's side that is wanted; below 1 crops more tightly.

    Raises:
        OptionError: an unknown centring, or a coverage that is not positive.
    """
    _check(centring)
    if not coverage > 0:
        raise OptionError(f"coverage must be positive, got {coverage}")
    return coverage / (1.0 - EXTRACT_RATIOS[centring])


def padding_px(size: int, centring: Centring, coverage: float = 1.0) -> int:
    """Pixels on each side of a crop of ``size`` that lie outside the unit square."""
    return round(size * (1.0 - 1.0 / expansion_of(centring, coverage)) / 2)


def _check(centring: str) -> None:
    if centring not in EXTRACT_RATIOS:
        known = ", ".join(EXTRACT_RATIOS)
        raise OptionError(f"there is no centring {centring!r}; known centrings: {known}")
