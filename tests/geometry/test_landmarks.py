"""The markup's indices, held to pictures of a face whose sides are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from featflow.geometry import landmarks


def test_parts_cover_the_68_points_once() -> None:
    indices = [i for part in landmarks.PARTS.values() for i in part]
    assert indices == list(range(68))


def test_mirror_is_its_own_inverse() -> None:
    assert landmarks.MIRROR_68[landmarks.MIRROR_68].tolist() == list(range(68))
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 50, (3, 68, 2))
    back = landmarks.mirror_landmarks(landmarks.mirror_landmarks(points, 50), 50)
    np.testing.assert_allclose(back, points, atol=1e-12)


def test_mirror_pairs_the_nearest_reflected_point(shared: Path) -> None:
    """On a symmetric face each partner is the point nearest to the reflection."""
    face = np.load(shared / "geometry" / "ict_face68.npz")["neutral"]
    nearest = cKDTree(face).query(face * [-1, 1, 1])[1]
    np.testing.assert_array_equal(landmarks.MIRROR_68, nearest)


def test_mirror_maps_pixel_edges_to_edges() -> None:
    points = np.zeros((68, 2))
    points[:, 0] = 1.0
    mirrored = landmarks.mirror_landmarks(points, 10)
    # A continuous coordinate: the centre of pixel 0 (0.5) meets that of pixel 9 (9.5).
    assert set(mirrored[:, 0]) == {9.0}


def test_five_points_and_distance(shared: Path) -> None:
    face = np.load(shared / "geometry" / "ict_face68.npz")["neutral"]
    picture = face[:, :2] * [1, -1]
    five = landmarks.five_points(picture)
    np.testing.assert_allclose(five[0], picture[36:42].mean(0))
    assert five[0, 0] < five[2, 0] < five[1, 0]  # image left eye, nose, image right eye
    assert five[3, 0] < five[4, 0]
    assert five[0, 1] < five[2, 1] < five[3, 1]  # y down: eyes, nose, mouth
    width = picture[45, 0] - picture[36, 0]
    np.testing.assert_allclose(
        landmarks.interocular(picture), np.hypot(width, picture[45, 1] - picture[36, 1])
    )
    assert landmarks.interocular(np.zeros((4, 68, 2))).shape == (4,)
