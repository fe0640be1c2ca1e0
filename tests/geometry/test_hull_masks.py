"""Hull masks against matplotlib's point-in-polygon test at pixel centres."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.path import Path as Polygon
from scipy.spatial import ConvexHull

from featflow.errors import OptionError
from featflow.geometry.hull_masks import COMPONENTS, HULLS, PART_NAMES, hull_masks, lift_brows
from featflow.geometry.landmarks import mirror_landmarks
from featflow.geometry.mean_face import FACE68_CM

SIZE = 128
FRAME = np.array([[200, 300]])  # height, width
CROP = np.array([[[0.8, 0.1, -55.0], [-0.1, 0.8, -5.0]]])


def _face(seed: int = 0) -> np.ndarray:
    """A frontal face 110 pixels wide about (150, 105), a little uneven."""
    rng = np.random.default_rng(seed)
    return FACE68_CM[:, :2] * [7.5, -7.5] + [150, 100] + rng.normal(0, 0.5, (68, 2))


def _draw(points: np.ndarray, part: str = "face", **changes: np.ndarray) -> np.ndarray:
    matrices, frames = changes.get("matrices", CROP), changes.get("frames", FRAME)
    return hull_masks(points[None], matrices, frames, SIZE, part)[0]


def _oracle(points: np.ndarray, part: str, samples: int) -> np.ndarray:
    """Part of each pixel inside any hull, 0..1, by another library's hulls and polygons."""
    on_crop = points @ CROP[0, :, :2].T + CROP[0, :, 2]
    fine = (np.arange(SIZE * samples) + 0.5) / samples
    at = np.stack(np.meshgrid(fine, fine), -1).reshape(-1, 2)
    inside = np.zeros(len(at), bool)
    for rows in HULLS[part]:
        group = on_crop[list(rows)]
        near = ((at >= group.min(0)) & (at <= group.max(0))).all(1)
        polygon = Polygon(group[ConvexHull(group).vertices])
        inside[near] |= polygon.contains_points(at[near])
    return inside.reshape(SIZE, samples, SIZE, samples).mean((1, 3))


@pytest.mark.parametrize("part", PART_NAMES)
def test_equals_the_hull(part: str) -> None:
    points = _face()
    samples = 16 if part in ("eyes", "brows") else 8  # the oracle errs too, most on thin parts
    shown = lift_brows(points) if part == "extended" else points
    expected = _oracle(shown, part, samples)
    got = _draw(points, part) / 255
    assert expected.sum() > 60
    assert np.minimum(got, expected).sum() / np.maximum(got, expected).sum() > 0.98
    np.testing.assert_allclose(got, expected, atol=0.3)


@pytest.mark.parametrize("part", ["face", "components", "extended"])
def test_half_covered_is_the_pixel_centre(part: str) -> None:
    points = _face(1)
    shown = lift_brows(points) if part == "extended" else points
    centre_inside = _oracle(shown, part, samples=1) > 0
    inside = _draw(points, part) > 127
    assert (inside & centre_inside).sum() / (inside | centre_inside).sum() > 0.98


@pytest.mark.parametrize("part", ["face", "eyes", "mouth", "nose"])
def test_covers_the_exact_area_of_the_hull(part: str) -> None:
    """Anti-aliased: the grey sum is the area of the polygon, also for an eye."""
    points = _face()
    on_crop = points @ CROP[0, :, :2].T + CROP[0, :, 2]
    exact = sum(ConvexHull(on_crop[list(rows)]).volume for rows in HULLS[part])
    assert _draw(points, part).sum() / 255 == pytest.approx(exact, rel=0.01)
    assert len(np.unique(_draw(points, part))) > 5


def test_extended_adds_forehead_and_nothing_else() -> None:
    points = _face()
    plain, extended = _draw(points, "components") > 127, _draw(points, "extended") > 127
    assert (extended | plain).sum() == extended.sum()
    added_rows = np.flatnonzero((extended & ~plain).any(1))
    nose = (points[30] @ CROP[0, :, :2].T + CROP[0, :, 2])[1]
    assert added_rows.max() < nose
    assert np.flatnonzero(extended.any(1)).min() < np.flatnonzero(plain.any(1)).min() - 5


def test_lifting_moves_each_brow_point_half_its_distance() -> None:
    points = _face()
    lifted = lift_brows(points)
    np.testing.assert_allclose(lifted[20] - points[20], 0.5 * (points[20] - points[38]))
    np.testing.assert_allclose(lifted[23] - points[23], 0.5 * (points[23] - points[43]))
    quarter = 0.75 * points[45] + 0.25 * points[16]
    np.testing.assert_allclose(lifted[26] - points[26], 0.5 * (points[26] - quarter))
    others = np.r_[0:17, 27:68]
    np.testing.assert_array_equal(lifted[others], points[others])
    mirrored = lift_brows(mirror_landmarks(points, 300))
    np.testing.assert_allclose(mirrored, mirror_landmarks(lifted, 300), atol=1e-9)


def test_components_follow_hollows_that_one_hull_bridges() -> None:
    points = _face()
    points[[2, 14]] += [[15, 0], [-15, 0]]  # sunken cheeks
    points[[1, 3, 13, 15]] += [[9, 0], [9, 0], [-9, 0], [-9, 0]]
    face, components = _draw(points) > 127, _draw(points, "components") > 127
    assert (face | components).sum() == face.sum()
    assert {i for rows in COMPONENTS for i in rows} == set(range(36))


def test_off_the_frame_is_exactly_zero() -> None:
    points = _face() - [110, 0]  # the face hangs over the left edge
    shift = np.add(CROP, [[[0, 0, 90], [0, 0, 0]]])
    mask, whole = (
        _draw(points, "face", matrices=shift, frames=frame)
        for frame in (FRAME, np.array([[2000, 3000]]))
    )
    y, x = np.mgrid[0:SIZE, 0:SIZE] + 0.5
    back = np.linalg.inv(np.r_[shift[0], [[0, 0, 1]]])
    frame_x = back[0, 0] * x + back[0, 1] * y + back[0, 2]
    assert (whole[frame_x >= 0] == mask[frame_x >= 0]).all()
    assert (mask[frame_x < 0] == 0).all()
    assert (_draw(points - [500, 0], "face", matrices=shift) == 0).all()


def test_the_subjects_left_eye_is_on_the_image_right() -> None:
    points = _face()
    left_eye = points[42:48] @ CROP[0, :, :2].T + CROP[0, :, 2]
    mask = _draw(points, "eyes")
    x, y = left_eye.mean(0)
    assert mask[int(y), int(x)] == 255
    assert x > SIZE / 2
    columns = np.flatnonzero(mask.any(0))
    assert columns.min() < SIZE / 2 < columns.max()


def test_unknown_faces_and_parts() -> None:
    points = np.stack([_face(), np.full((68, 2), np.nan)])
    masks = hull_masks(points, np.repeat(CROP, 2, 0), np.repeat(FRAME, 2, 0), SIZE)
    assert masks[0].any()
    assert not masks[1].any()
    with pytest.raises(OptionError, match="known parts: face"):
        hull_masks(points, CROP, FRAME, SIZE, "hair")  # type: ignore[arg-type]
    assert hull_masks(np.zeros((0, 68, 2)), np.zeros((0, 2, 3)), FRAME[:0], 64).shape == (0, 64, 64)
