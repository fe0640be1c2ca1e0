"""Similarities against Umeyama's singular value decomposition and matrix algebra."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featflow.geometry.similarity import apply, compose, invert, scale_of, umeyama

SEEDS = st.integers(0, 2**31)


def _svd_umeyama(src: np.ndarray, dst: np.ndarray) -> np.ndarray:
    """Equations 38 to 43 of Umeyama 1991, with the sign that forbids a reflection."""
    a, b = src - src.mean(0), dst - dst.mean(0)
    u, d, vt = np.linalg.svd(b.T @ a / len(src))
    sign = np.diag([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ sign @ vt
    scale = np.trace(np.diag(d) @ sign) / (a**2).sum(1).mean()
    return np.c_[scale * rotation, dst.mean(0) - scale * rotation @ src.mean(0)]


def _homogeneous(m: np.ndarray) -> np.ndarray:
    return np.concatenate([m, np.broadcast_to([0.0, 0, 1], (*m.shape[:-2], 1, 3))], -2)


@given(SEEDS, st.integers(2, 12), st.booleans())
def test_umeyama_equals_svd_also_where_a_mirror_fits_better(
    seed: int, count: int, mirrored: bool
) -> None:
    rng = np.random.default_rng(seed)
    src = rng.normal(size=(count, 2)) * 30 + 100
    dst = src * [-1 if mirrored else 1, 1] * 0.7 + rng.normal(size=(count, 2))
    got = umeyama(src, dst)
    np.testing.assert_allclose(got, _svd_umeyama(src, dst), atol=1e-7)
    assert np.linalg.det(got[:, :2]) >= 0


@given(SEEDS, st.floats(-3, 3), st.floats(0.01, 50))
def test_umeyama_recovers_a_known_map(seed: int, angle: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    src = rng.normal(size=(3, 5, 2)) * 20
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    truth = np.array([[c, -s, 12.0], [s, c, -7.0]])
    np.testing.assert_allclose(
        umeyama(src, apply(truth, src)), np.broadcast_to(truth, (3, 2, 3)), atol=1e-9 * scale + 1e-9
    )


@pytest.mark.parametrize("value", [0.0, 0.1, 123.456])
def test_points_that_coincide_have_no_map(value: float) -> None:
    faces = np.full((2, 5, 2), value)
    faces[1] = np.random.default_rng(0).normal(size=(5, 2))
    target = np.random.default_rng(1).normal(size=(5, 2))
    got = umeyama(faces, target)
    assert np.isnan(got[0]).all()
    assert np.isfinite(got[1]).all()


def test_unknown_points_have_no_map() -> None:
    faces = np.random.default_rng(0).normal(size=(2, 5, 2))
    faces[0, 2, 1] = np.nan
    got = umeyama(faces, faces[1])
    assert np.isnan(got[0]).all()
    np.testing.assert_allclose(got[1], [[1, 0, 0], [0, 1, 0]], atol=1e-12)
    assert umeyama(np.zeros((0, 5, 2)), faces[1]).shape == (0, 2, 3)


@given(SEEDS)
def test_invert_and_compose_are_matrix_algebra(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, 4, 2, 3)) + np.eye(2, 3) * 3
    product = _homogeneous(a) @ _homogeneous(b)
    np.testing.assert_allclose(compose(a, b), product[..., :2, :], atol=1e-12)
    np.testing.assert_allclose(
        invert(a), np.linalg.inv(_homogeneous(a))[..., :2, :], rtol=1e-6, atol=1e-6
    )
    points = rng.normal(size=(4, 7, 2))
    np.testing.assert_allclose(apply(compose(a, b), points), apply(a, apply(b, points)), atol=1e-9)


def test_apply_broadcasts_one_map_over_faces() -> None:
    m = np.array([[0.0, -2, 5], [2, 0, 1]])  # a quarter turn, doubled
    points = np.array([[[1.0, 0], [0, 1]], [[2, 3], [0, 0]]])
    assert apply(m, points).tolist() == [[[5, 3], [3, 1]], [[-1, 5], [5, 1]]]
    assert scale_of(m) == pytest.approx(2)
    assert scale_of(m * [-1, 1, 1]) == pytest.approx(2)
