"""Scale and pad: exact inverses, and pixels where the map says."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featflow.errors import OptionError
from featflow.geometry.letterbox import Letterbox
from featflow.geometry.similarity import apply

SIDE = st.integers(1, 900)


@given(SIDE, SIDE, SIDE, SIDE, st.booleans(), st.booleans())
def test_inverse_and_containment(
    height: int, width: int, out_h: int, out_w: int, centred: bool, grow: bool
) -> None:
    box = Letterbox.fit((height, width), (out_h, out_w), centred=centred, grow=grow)
    frame = np.array([0.0, 0.0, width, height])
    placed = box.boxes_in(frame)
    left, top = box.offset
    np.testing.assert_allclose(placed, [left, top, left + box.inner[1], top + box.inner[0]])
    assert placed.min() >= 0
    assert placed[2] <= out_w + 1e-9
    assert placed[3] <= out_h + 1e-9
    points = np.array([[0.25, 0.5], [width - 0.5, height / 3]])
    np.testing.assert_allclose(box.points_out(box.points_in(points)), points, atol=1e-9)
    np.testing.assert_allclose(apply(box.matrix, points), box.points_in(points), atol=1e-9)


def test_fills_one_side_without_distortion() -> None:
    box = Letterbox.fit((360, 640), (320, 320))
    assert box.inner == (180, 320)
    assert box.offset == (0, 70)
    assert box.scale == (0.5, 0.5)
    assert Letterbox.fit((360, 640), (320, 320), centred=False).offset == (0, 0)
    assert Letterbox.fit((10, 10), (320, 320), grow=False).inner == (10, 10)


def test_a_pixel_lands_where_the_map_says() -> None:
    image = np.zeros((60, 120, 3), np.uint8)
    image[24, 100] = 255
    box = Letterbox.fit((60, 120), (120, 120))
    out = box.image(image, fill=7)
    assert (out[:30] == 7).all()
    assert (out[90:] == 7).all()
    x, y = box.points_in(np.array([100.5, 24.5])) - 0.5
    assert np.unravel_index(out[30:90, :, 0].argmax(), (60, 120)) == (round(y) - 30, round(x))


def test_shrinking_averages_as_opencv_does() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (90, 120, 3), np.uint8)
    out = Letterbox.fit((90, 120), (50, 40)).image(image)
    expected = cv2.resize(image, (40, 30), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(out[10:40], expected)


def test_refuses_empty_sizes() -> None:
    with pytest.raises(OptionError, match=r"\(0, 5\)"):
        Letterbox.fit((0, 5), (10, 10))
