"""Similarity and affine transforms of the plane, batched, as (2, 3) matrices.

A matrix ``m`` maps a column point: ``q = m[:, :2] @ p + m[:, 2]``. Coordinates are
continuous pixels: (0, 0) is the outer corner of the top-left pixel, whose centre lies at
(0.5, 0.5). In these coordinates scaling a picture by ``s`` scales its points by ``s``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def umeyama(source: Floats, target: Floats) -> NDArray[np.float64]:
    """Least-squares similarity that carries ``source`` points to ``target`` points.

    A reflection is never returned: where the best orthogonal map would mirror, the nearest
    proper rotation is taken and the scale follows it (Umeyama 1991, IEEE PAMI 13(4)).

    Args:
        source: (N, P, 2) or (P, 2) points.
        target: (P, 2) or the shape of ``source``.

    Returns:
        (N, 2, 3) or (2, 3) matrices; NaN where the source points coincide or are not finite.
    """
    src = np.asarray(source, np.float64)
    single = src.ndim == 2
    src = src[None] if single else src
    dst = np.broadcast_to(np.asarray(target, np.float64), src.shape)
    src_mean, dst_mean = src.mean(1, keepdims=True), dst.mean(1, keepdims=True)
    a, b = src - src_mean, dst - dst_mean
    # In the plane the optimal proper rotation has a closed form: the angle of the complex
    # correlation. It equals the SVD solution with the reflection sign corrected.
    cos = (a * b).sum((1, 2))
    sin = (a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]).sum(1)
    spread = (a * a).sum((1, 2))
    # Points that coincide still spread by the rounding of their mean.
    rounding = src.shape[1] * (4 * np.finfo(np.float64).eps * np.abs(src).max((1, 2))) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.where(spread > rounding, spread, np.nan)
        c, s = cos / spread, sin / spread
    linear = np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2)
    shift = dst_mean[:, 0] - np.einsum("nij,nj->ni", linear, src_mean[:, 0])
    matrix = np.concatenate([linear, shift[..., None]], -1)
    matrix[~np.isfinite(matrix).all((1, 2))] = np.nan
    return matrix[0] if single else matrix


def invert(matrix: Floats) -> NDArray[np.float64]:
    """Inverse of affine maps, (..., 2, 3)."""
    m = np.asarray(matrix, np.float64)
    det = m[..., 0, 0] * m[..., 1, 1] - m[..., 0, 1] * m[..., 1, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        linear = (
            np.stack(
                [
                    np.stack([m[..., 1, 1], -m[..., 0, 1]], -1),
                    np.stack([-m[..., 1, 0], m[..., 0, 0]], -1),
                ],
                -2,
            )
            / det[..., None, None]
        )
    shift = -np.einsum("...ij,...j->...i", linear, m[..., 2])
    return np.concatenate([linear, shift[..., None]], -1)


def compose(second: Floats, first: Floats) -> NDArray[np.float64]:
    """The map that applies ``first`` and then ``second``, (..., 2, 3)."""
    a, b = np.asarray(second, np.float64), np.asarray(first, np.float64)
    linear = a[..., :2] @ b[..., :2]
    shift = np.einsum("...ij,...j->...i", a[..., :2], b[..., 2]) + a[..., 2]
    return np.concatenate([linear, shift[..., None]], -1)


def apply(matrix: Floats, points: Floats) -> NDArray[np.float64]:
    """Carry points (..., P, 2) through maps (..., 2, 3)."""
    m, p = np.asarray(matrix, np.float64), np.asarray(points, np.float64)
    carried = np.einsum("...ij,...pj->...pi", m[..., :2], p) + m[..., None, :, 2]
    return np.asarray(carried, np.float64)


def scale_of(matrix: Floats) -> NDArray[np.float64]:
    """Length that a unit length has after the map: the square root of its area factor."""
    m = np.asarray(matrix, np.float64)
    det = m[..., 0, 0] * m[..., 1, 1] - m[..., 0, 1] * m[..., 1, 0]
    return np.asarray(np.sqrt(np.abs(det)), np.float64)
