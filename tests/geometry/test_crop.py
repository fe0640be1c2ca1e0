"""Crop rules: where corners and template points land."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from featflow.errors import OptionError
from featflow.geometry.crop import (
    FIVE_POINT_TEMPLATE,
    FIVE_POINTS_IN_BOX,
    CropRule,
    complete_points5,
)
from featflow.geometry.similarity import apply, umeyama


@dataclass
class Faces:
    """One upright face without points, unless told."""

    box: np.ndarray = field(default_factory=lambda: np.array([[10.0, 20, 50, 100]]))
    points5: np.ndarray = field(default_factory=lambda: np.full((1, 5, 2), np.nan))
    landmarks: np.ndarray = field(default_factory=lambda: np.full((1, 68, 2), np.nan))


CORNERS = np.array([[10.0, 20], [50, 100]])


def _corners(rule: CropRule) -> list[list[float]]:
    found: list[list[float]] = apply(rule.matrices(Faces()), CORNERS[None])[0].round(9).tolist()
    return found


def test_square_box_keeps_proportions() -> None:
    assert _corners(CropRule(160)) == [[40, 0], [120, 160]]
    assert _corners(CropRule(160, expansion=2)) == [[60, 40], [100, 120]]


def test_stretched_box_fills_the_crop() -> None:
    assert _corners(CropRule(160, square=False)) == [[0, 0], [160, 160]]


def test_a_square_may_follow_the_shorter_side_or_the_mean() -> None:
    assert _corners(CropRule(160, side="shorter")) == [[0, -80], [160, 240]]
    assert _corners(CropRule(180, side="mean")) == [[30, -30], [150, 210]]
    with pytest.raises(OptionError, match="side"):
        CropRule(160, side="area")  # type: ignore[arg-type]


def test_shift_moves_the_view_down_and_the_face_up() -> None:
    assert _corners(CropRule(160, shift_y=0.25)) == [[40, -40], [120, 120]]
    plain, shifted = CropRule(112, "points5"), CropRule(112, "points5", shift_y=0.25)
    np.testing.assert_allclose(shifted.template(), plain.template() - [0, 28])


@pytest.mark.parametrize("expansion", [1.0, 1.6])
def test_points_land_on_the_template(expansion: float) -> None:
    rule = CropRule(112, "points5", expansion=expansion)
    middle = (FIVE_POINT_TEMPLATE * 112 - 56) / expansion + 56
    np.testing.assert_allclose(rule.template(), middle)
    turn = 0.6
    rotate = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = 3.7 * rule.template() @ rotate.T + [200, -30]
    matrix = rule.matrices(Faces(points5=points[None]))
    np.testing.assert_allclose(apply(matrix, points[None])[0], middle, atol=1e-9)


@pytest.mark.parametrize("expansion", [1.0, 1.25])
def test_five_of_the_landmarks_land_on_the_template(expansion: float) -> None:
    """Eye centres, nose tip and mouth corners of the 68; the rest and the box do not count."""
    rule = CropRule(64, "landmarks5", expansion=expansion)
    landmarks = np.random.default_rng(0).uniform(0, 64, (68, 2))
    template = rule.template()
    for first, place in ((36, 0), (42, 1)):
        eye = landmarks[first : first + 6]
        landmarks[first : first + 6] = eye - eye.mean(0) + template[place]
    landmarks[[30, 48, 54]] = template[2:]
    turn = np.array([[0.0, 2.0], [-2.0, 0.0]])
    faces = Faces(landmarks=(landmarks @ turn.T + [30, 90])[None])
    back = apply(rule.matrices(faces), faces.landmarks)[0]
    np.testing.assert_allclose(back, landmarks, atol=1e-9)
    assert np.isnan(rule.matrices(Faces())).all()


def test_template_is_the_recognition_alignment() -> None:
    """Image left eye first, y down, in the 112 pixel crop of ArcFace."""
    template = CropRule(112, "points5").template()
    np.testing.assert_allclose(template[0], [38.2946, 51.6963])
    np.testing.assert_allclose(template[4], [70.7299, 92.2041])


def test_a_face_without_points_is_placed_by_its_box() -> None:
    box = np.array([[0.0, 0, 100, 100], [0, 0, 100, 100]])
    points = np.full((2, 5, 2), np.nan)
    points[0] = np.arange(10).reshape(5, 2) ** 1.5
    points[1, :4] = 1.0  # one point missing: all are assumed
    completed = complete_points5(points, box)
    np.testing.assert_array_equal(completed[0], points[0])
    np.testing.assert_allclose(completed[1], FIVE_POINTS_IN_BOX * 100)
    rule = CropRule(64, "points5")
    expected = umeyama(FIVE_POINTS_IN_BOX * 100, rule.template())
    got = rule.matrices(Faces(box=box[1:], points5=points[1:]))
    np.testing.assert_allclose(got[0], expected)


def test_bad_rules_and_equal_rules() -> None:
    for arguments in ({"size": 0}, {"size": 8, "expansion": 0.0}, {"size": 8, "expansion": np.nan}):
        with pytest.raises(OptionError, match="crop"):
            CropRule(**arguments)
    assert CropRule(64) == CropRule(64, expansion=1.0)
    assert len({CropRule(64), CropRule(64, "points5")}) == 2
