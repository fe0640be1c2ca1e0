"""The aligned, masked face against its definition and scikit-image's polygon mask."""

from __future__ import annotations

from math import atan2
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featflow.errors import ArrayError
from featflow.features.aligned import aligned_faces, alignment, face_mask
from featflow.geometry.similarity import apply

EXPECTED = Path(__file__).parent / "expected" / "face_mask.npz"


def some_face(seed: int = 0, angle: float = 0.0) -> np.ndarray:
    """68 points with the eyes level, then turned by an angle, in a 200-pixel picture."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(40, 160, (68, 2))
    points[36:42] = np.array([75, 80]) + rng.normal(0, 2, (6, 2))
    points[42:48] = np.array([125, 80]) + rng.normal(0, 2, (6, 2))
    points[[30, 48, 54]] = [[100, 105], [82, 130], [118, 130]]
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (points - 100) @ turn.T + 100


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 99), st.floats(-3, 3))
def test_eyes_are_level_and_anchors_centred(seed: int, angle: float) -> None:
    points = some_face(seed, angle)
    placed = apply(alignment(points[None])[0], points)
    left, right = placed[36:42].mean(0), placed[42:48].mean(0)
    assert atan2(right[1] - left[1], right[0] - left[0]) == pytest.approx(0, abs=1e-9)
    anchors = np.stack([left, right, placed[30], placed[48], placed[54]])
    extent = np.ptp(anchors, axis=0)
    assert extent.max() == pytest.approx(111 / 2.5)
    middle = (anchors.min(0) + anchors.max(0)) / 2
    np.testing.assert_allclose(middle, 55.5, atol=1e-9)


def test_a_turned_face_gives_the_same_points() -> None:
    straight, turned = some_face(3), some_face(3, 0.6)
    both = alignment(np.stack([straight, turned]))
    np.testing.assert_allclose(apply(both[0], straight), apply(both[1], turned), atol=1e-9)


def test_mask_equals_scikit_image() -> None:
    with np.load(EXPECTED) as saved:
        masks = np.unpackbits(saved["mask"], axis=-1, count=112).astype(bool)
        for points, mask in zip(saved["points"], masks, strict=True):
            np.testing.assert_array_equal(face_mask(points), mask)


def test_mask_of_a_triangle_counts_its_border() -> None:
    points = np.full((68, 2), 20)
    points[:3] = [[10, 10], [20, 10], [10, 20]]
    points[3:] = [10, 10]
    mask = face_mask(points, 32)
    y, x = np.mgrid[:32, :32]
    np.testing.assert_array_equal(mask, (x >= 10) & (y >= 10) & (x + y <= 30))


def test_the_forehead_is_seen() -> None:
    points = np.full((68, 2), 56)
    points[0], points[16], points[8] = [20, 50], [90, 40], [55, 100]
    mask = face_mask(points)
    assert mask[:40, 20:90].all()
    assert not mask[:40, :20].any()
    assert not mask[:40, 90:].any()


def test_pixels_follow_the_points_and_the_outside_is_filled() -> None:
    y, x = np.mgrid[:200, :200]
    picture = np.stack([x / 200, y / 200, np.ones_like(x)], -1)[None]
    points = some_face(1, 0.4)
    faces, placed = aligned_faces(picture, points[None])
    matrix = alignment(points[None])[0]
    np.testing.assert_array_equal(placed[0], apply(matrix, points).astype(int))
    inside = np.argwhere(faces[0, ..., 2] == 1)[::97]
    assert len(inside) > 20
    linear = np.linalg.inv(matrix[:, :2])
    source = (inside[:, ::-1] - matrix[:, 2]) @ linear.T
    found = faces[0, inside[:, 0], inside[:, 1], :2] * 200
    np.testing.assert_allclose(found, source, atol=1e-3)
    far = points + 150  # most of the face lies beyond the picture
    assert aligned_faces(picture, far[None], fill=128.0)[0].max() == 128
    assert aligned_faces(picture, far[None])[0].max() <= 1


def test_a_face_without_landmarks_is_empty() -> None:
    landmarks = np.stack([some_face(), np.full((68, 2), np.nan), np.ones((68, 2))])
    faces, points = aligned_faces(np.ones((3, 200, 200, 3)), landmarks)
    assert faces[0].any()
    assert not faces[1:].any()
    assert not points[1:].any()


def test_flat_landmarks_are_refused() -> None:
    with pytest.raises(ArrayError, match="landmarks"):
        alignment(np.zeros((2, 136)))
