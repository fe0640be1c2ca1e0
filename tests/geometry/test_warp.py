"""Warps against OpenCV, plain averaging and the mapped values of a ramp."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featflow.geometry.similarity import apply, invert
from featflow.geometry.warp import Outside, warp, warp_faces

PAD = {"zero": "constant", "replicate": "edge", "reflect": "reflect"}
MODES: list[Outside] = ["zero", "replicate", "reflect"]


def _noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def _block_means(
    image: np.ndarray, origin: tuple[int, int], factor: tuple[int, int], size: int, mode: str
) -> np.ndarray:
    """Mean of fx x fy pixels under each output pixel, of a picture extended by numpy."""
    reach = 150
    extended = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), PAD[mode])
    x, y = origin[0] + reach, origin[1] + reach
    part = extended[y : y + size * factor[1], x : x + size * factor[0]].astype(float)
    return part.reshape(size, factor[1], size, factor[0], 3).mean((1, 3))


def test_identity_and_whole_shifts_are_exact() -> None:
    image = _noise(20, 30)
    np.testing.assert_array_equal(warp(image, np.eye(2, 3), (20, 30)), image)
    shifted = warp(image, np.array([[1.0, 0, -4], [0, 1, 3]]), (20, 30))
    np.testing.assert_array_equal(shifted[3:, :26], image[:17, 4:])
    assert (shifted[:3] == 0).all()
    assert (shifted[:, 26:] == 0).all()


@pytest.mark.parametrize("outside", MODES)
@pytest.mark.parametrize("scale", [0.8, 1.0, 2.5])
def test_equals_opencv_with_the_half_pixel_put_in(outside: Outside, scale: float) -> None:
    image = _noise(40, 50)
    c, s = scale * np.cos(0.4), scale * np.sin(0.4)
    matrix = np.array([[c, -s, 6.3], [s, c, -2.8]])
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    centred = (np.linalg.inv(shift) @ np.r_[matrix, [[0, 0, 1]]] @ shift)[:2]
    border = {
        "zero": cv2.BORDER_CONSTANT,
        "replicate": cv2.BORDER_REPLICATE,
        "reflect": cv2.BORDER_REFLECT_101,
    }[outside]
    expected = cv2.warpAffine(image, centred, (44, 33), flags=cv2.INTER_LINEAR, borderMode=border)
    np.testing.assert_array_equal(warp(image, matrix, (33, 44), outside), expected)


@pytest.mark.parametrize("scale", [3.0, 1.3, 0.7, 0.5, 0.4, 0.3])
def test_a_ramp_keeps_its_values_at_the_mapped_positions(scale: float) -> None:
    """Fails by a level or more where the half pixel is dropped, at any scale but 1."""
    rows, columns = np.mgrid[0:60, 0:80] + 0.5
    image = np.round(np.stack([2 * columns, 3 * rows, 0 * rows], -1) + 20).astype(np.uint8)
    c, s = scale * np.cos(-0.3), scale * np.sin(-0.3)
    matrix = np.array([[c, -s, 0.0], [s, c, 0.0]])
    matrix[:, 2] = 10 - matrix[:, :2] @ [40, 30]
    out = warp(image, matrix, (20, 20)).astype(float)
    pixel = np.stack(np.meshgrid(np.arange(20) + 0.5, np.arange(20) + 0.5), -1).reshape(-1, 2)
    x, y = apply(invert(matrix), pixel).T
    inside = (x > 4) & (x < 76) & (y > 4) & (y < 56)
    assert inside.sum() > 100
    seen = out.reshape(-1, 3)[inside]
    np.testing.assert_allclose(seen[:, 0], 2 * x[inside] + 20, atol=1.1)
    np.testing.assert_allclose(seen[:, 1], 3 * y[inside] + 20, atol=1.1)
    assert abs(np.mean(seen[:, 0] - 2 * x[inside] - 20)) < 0.3
    assert abs(np.mean(seen[:, 1] - 3 * y[inside] - 20)) < 0.3


def test_half_size_equals_area_averaging() -> None:
    image = _noise(40, 60)
    half = warp(image, np.array([[0.5, 0, 0], [0, 0.5, 0]]), (20, 30))
    np.testing.assert_array_equal(half, cv2.resize(image, (30, 20), interpolation=cv2.INTER_AREA))


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(-50, 50),
    st.integers(-50, 50),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.sampled_from(MODES),
)
@settings(max_examples=150, deadline=None)
def test_whole_shrinking_is_an_exact_mean_at_any_origin_and_beyond_the_edge(
    height: int, width: int, x: int, y: int, factor: tuple[int, int], outside: Outside
) -> None:
    """Also for odd sizes, whose last pixels fill no whole block, and for stretched crops."""
    image = _noise(height, width)
    size = 8
    spans = (x, x + size * factor[0], width), (y, y + size * factor[1], height)
    overlaps = all(low < side and high > 0 for low, high, side in spans)
    near = all(low > -side and high < 2 * side for low, high, side in spans)
    if outside != "zero" and not overlaps:
        return  # a crop wholly off the picture shows its edge, unaveraged
    if outside == "reflect" and not near:
        return  # the mirror image is followed for one picture's length
    fx, fy = factor
    matrix = np.array([[1 / fx, 0, -x / fx], [0, 1 / fy, -y / fy]])
    got = warp(image, matrix, (size, size), outside)
    expected = _block_means(image, (x, y), factor, size, outside)
    np.testing.assert_allclose(got, expected, atol=0.51)


def test_the_last_pixels_are_not_dropped() -> None:
    """A picture of 7 pixels shrunk by 2 shows its bright last column."""
    image = np.zeros((7, 7), np.uint8)
    image[:, 6] = 200
    out = warp(image, np.array([[0.5, 0, 0], [0, 0.5, 0]]), (4, 4), "replicate")
    np.testing.assert_array_equal(out[:, 3], 200)
    out = warp(image, np.array([[0.5, 0, 0], [0, 0.5, 0]]), (4, 4), "zero")
    np.testing.assert_array_equal(out[:3, 3], 100)


def test_strong_shrinking_of_a_turned_picture_keeps_the_mean() -> None:
    image = _noise(1200, 1600)
    c, s = np.cos(0.5) / 77.3, np.sin(0.5) / 77.3
    matrix = np.array([[c, -s, 0.0], [s, c, 0.0]])
    matrix[:, 2] = 2 - matrix[:, :2] @ [800, 600]
    out = warp(image, matrix, (4, 4))
    np.testing.assert_allclose(out, 127.5, atol=3)


def test_absurd_maps_stay_cheap_and_black() -> None:
    image = _noise(10, 10)
    tiny = np.array([[1e-7, 0, 2], [0, 1e-7, 2]])
    assert warp(image, tiny, (16, 16), "replicate").shape == (16, 16, 3)
    for matrix in (np.full((2, 3), np.nan), np.zeros((2, 3)), np.full((2, 3), np.inf)):
        assert (warp(image, matrix, (5, 5)) == 0).all()
    empty = np.zeros((0, 0, 3), np.uint8)
    assert warp(empty, np.eye(2, 3), (5, 5)).tolist() == np.zeros((5, 5, 3)).tolist()


def test_warp_faces_takes_each_face_from_its_own_picture() -> None:
    images = [np.full((9, 9, 3), value, np.uint8) for value in (10, 20)]
    matrices = np.broadcast_to(np.eye(2, 3), (3, 2, 3))
    crops = warp_faces(images, np.array([1, 0, 1]), matrices, 4)
    assert crops.shape == (3, 4, 4, 3)
    assert crops[:, 0, 0, 0].tolist() == [20, 10, 20]
    assert warp_faces(images, np.zeros(0, int), np.zeros((0, 2, 3)), 4).shape == (0, 4, 4, 3)
