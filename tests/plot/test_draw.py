"""Drawing into pixels: the right ones."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from featflow.errors import ArrayError
from featflow.plot import draw_faces
from featflow.plot.shapes import AXIS_COLOURS, BOX_COLOUR, POINT_COLOUR


def _blank(height: int = 80, width: int = 100) -> NDArray[np.uint8]:
    return np.zeros((height, width, 3), np.uint8)


def _row(x: float, y: float, w: float, h: float, **more: float) -> pd.DataFrame:
    box = {"FaceRectX": x, "FaceRectY": y, "FaceRectWidth": w, "FaceRectHeight": h}
    return pd.DataFrame({**box, **more}, index=[0])


def test_box_covers_the_outermost_pixels_inside_it() -> None:
    drawn = draw_faces(_blank(), _row(10, 20, 30, 40))
    expected = _blank()
    expected[20:60, 10:40] = BOX_COLOUR
    expected[21:59, 11:39] = 0
    np.testing.assert_array_equal(drawn, expected)


def test_box_may_reach_out_of_the_picture() -> None:
    drawn = draw_faces(_blank(), _row(-1e9, -5, 2e9, 25))
    assert (drawn[19] == BOX_COLOUR).all()
    assert not drawn[20:].any()


def test_point_lies_on_its_pixel() -> None:
    points = {f"{axis}_{i}": 30.5 for axis in "xy" for i in range(68)}  # centre of pixel 30, 30
    drawn = draw_faces(_blank(), pd.DataFrame(points, index=[0]))
    weight = drawn.astype(float).sum(2)
    rows, columns = np.indices(weight.shape)
    centre = (rows * weight).sum() / weight.sum(), (columns * weight).sum() / weight.sum()
    # OpenCV's smooth circles lean by a quarter pixel; half a pixel would be our mistake
    np.testing.assert_allclose(centre, [30, 30], atol=0.3)
    assert tuple(drawn[30, 30]) == POINT_COLOUR


def _mean_x(drawn: NDArray[np.uint8], colour: tuple[int, int, int]) -> float:
    found = np.argwhere((drawn == colour).all(2))
    assert len(found)
    return float(found[:, 1].mean())


@pytest.mark.parametrize(("yaw", "side"), [(0.7, -1), (-0.7, 1)])
def test_head_turned_to_the_subjects_right_points_to_image_left(yaw: float, side: int) -> None:
    drawn = draw_faces(_blank(), _row(20, 10, 60, 60, Pitch=0, Roll=0, Yaw=yaw), boxes=False)
    assert np.sign(_mean_x(drawn, AXIS_COLOURS[2]) - 50) == side


def test_axis_colours() -> None:
    """Red to the subject's left, green up."""
    drawn = draw_faces(_blank(), _row(20, 10, 60, 60, Pitch=0, Roll=0, Yaw=0), boxes=False)
    assert _mean_x(drawn, AXIS_COLOURS[0]) > 60
    green = np.argwhere((drawn == AXIS_COLOURS[1]).all(2))
    assert green[:, 0].max() <= 41


def test_what_is_switched_off_is_not_drawn() -> None:
    row = _row(20, 10, 60, 60, Pitch=0, Roll=0, Yaw=0.5)
    assert not draw_faces(_blank(), row, boxes=False, poses=False).any()


def test_rows_without_a_face_draw_nothing_and_the_picture_is_not_touched() -> None:
    image = _blank()
    image.setflags(write=False)
    assert not draw_faces(image, _row(*[np.nan] * 4)).any()
    draw_faces(image, _row(10, 20, 30, 40))
    assert not image.any()
    assert not draw_faces(image, _row(10, 20, 30, 40).iloc[:0]).any()


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_only_pictures_are_drawn_on(image: NDArray[np.uint8]) -> None:
    with pytest.raises(ArrayError, match="uint8 RGB"):
        draw_faces(image, _row(0, 0, 1, 1))


def test_five_faces_on_a_large_frame_take_milliseconds() -> None:
    points = {f"{axis}_{i}": 100.0 + i for axis in "xy" for i in range(68)}
    row = _row(100, 100, 200, 200, Pitch=0.1, Roll=0.1, Yaw=0.1, **points)
    rows = pd.concat([row] * 5)
    image = _blank(720, 1280)
    draw_faces(image, rows)
    start = time.process_time()
    for _ in range(10):
        draw_faces(image, rows)
    assert (time.process_time() - start) / 10 < 0.02
