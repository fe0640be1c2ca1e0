"""Boxes against brute force and closed formulas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featflow.errors import OptionError
from featflow.geometry import boxes


def _random(rng: np.random.Generator, count: int) -> np.ndarray:
    low = rng.uniform(0, 60, (count, 2))
    return np.concatenate([low, low + rng.uniform(1, 40, (count, 2))], 1)


def _pixel_iou(a: np.ndarray, b: np.ndarray) -> float:
    """Overlap by counting the cells of a grid: boxes have whole corners."""
    grid = np.zeros((2, 40, 40), bool)
    for cells, (x0, y0, x1, y1) in zip(grid, (a, b), strict=True):
        cells[y0:y1, x0:x1] = True
    return (grid[0] & grid[1]).sum() / (grid[0] | grid[1]).sum()


def _brute_nms(b: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(b)), key=lambda i: (-scores[i], i)):
        if all(boxes.iou(b[i : i + 1], b[k : k + 1])[0, 0] <= threshold for k in kept):
            kept.append(i)
    return kept


def test_iou_counts_pixels() -> None:
    rng = np.random.default_rng(0)
    low = rng.integers(0, 20, (30, 2))
    b = np.concatenate([low, low + rng.integers(1, 20, (30, 2))], 1)
    expected = [[_pixel_iou(p, q) for q in b] for p in b]
    np.testing.assert_allclose(boxes.iou(b, b), expected)


def test_iou_of_empty_boxes_is_zero() -> None:
    empty, inside_out = [3.0, 3, 3, 3], [5.0, 5, 1, 1]
    b = np.array([empty, inside_out, [0, 0, 4, 4]])
    assert boxes.iou(b, b).tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 1]]


@given(st.integers(0, 2**32 - 1), st.integers(0, 60), st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_nms_equals_brute_force(seed: int, count: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    b = _random(rng, count)
    scores = rng.integers(0, 6, count) / 5  # many ties
    assert boxes.nms(b, scores, threshold).tolist() == _brute_nms(b, scores, threshold)


def test_nms_equals_brute_force_over_many_blocks() -> None:
    rng = np.random.default_rng(1)
    b, scores = _random(rng, 700) * [3, 3, 3, 3], rng.random(700)
    assert boxes.nms(b, scores, 0.3).tolist() == _brute_nms(b, scores, 0.3)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_nms_is_idempotent_and_ignores_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    b, scores = _random(rng, 300), rng.permutation(300) / 300
    kept = boxes.nms(b, scores, 0.4)
    assert boxes.nms(b[kept], scores[kept], 0.4).tolist() == list(range(len(kept)))
    shuffle = rng.permutation(300)
    assert shuffle[boxes.nms(b[shuffle], scores[shuffle], 0.4)].tolist() == kept.tolist()


def test_nms_breaks_ties_by_index_and_keeps_the_threshold_itself() -> None:
    b = np.array([[0, 0, 2, 2], [0, 0, 2, 2], [1, 0, 3, 2]], float)
    scores = np.array([0.5, 0.5, 0.5])
    assert boxes.nms(b, scores, 1 / 3).tolist() == [0, 2]  # an overlap of exactly 1/3 stays
    assert boxes.nms(b, scores, 0.3).tolist() == [0]
    assert boxes.nms(b, scores, 1.0).tolist() == [0, 1, 2]


def test_nms_refuses_nonsense() -> None:
    with pytest.raises(OptionError, match="iou_threshold"):
        boxes.nms(np.zeros((1, 4)), np.zeros(1), 1.5)
    with pytest.raises(OptionError, match=r"\(2, 4\)"):
        boxes.nms(np.zeros((2, 4)), np.zeros(3), 0.5)
    assert boxes.nms(np.zeros((0, 4)), np.zeros(0), 0.5).shape == (0,)


def test_changes_of_form() -> None:
    b = np.array([[2.0, 4, 8, 6]])
    assert boxes.area(b).tolist() == [12]
    assert boxes.centre(b).tolist() == [[5, 5]]
    assert boxes.to_xywh(b).tolist() == [[2, 4, 6, 2]]
    assert boxes.from_xywh(boxes.to_xywh(b)).tolist() == b.tolist()
    assert boxes.square(b).tolist() == [[2, 2, 8, 8]]
    assert boxes.scale_about_centre(b, 1.5).tolist() == [[0.5, 3.5, 9.5, 6.5]]


def test_clip_takes_height_before_width() -> None:
    assert boxes.clip(np.array([[-5.0, -5, 99, 99]]), (10, 20)).tolist() == [[0, 0, 20, 10]]


def test_nesting_is_the_share_of_the_smaller_box():
    big, inside, half, apart = [0, 0, 10, 10], [2, 2, 4, 6], [8, 0, 12, 10], [20, 20, 30, 30]
    got = boxes.nesting(np.array([big]), np.array([inside, half, apart, [5, 5, 5, 9]]))
    assert got.tolist() == [[1.0, 0.5, 0.0, 0.0]]
    back = boxes.nesting(np.array([inside, half]), np.array([big]))
    assert back.tolist() == [[1.0], [0.5]]


def test_drop_nested_keeps_the_stronger_of_two_whichever_is_larger():
    face, eye, other = [0, 0, 100, 100], [20, 20, 40, 40], [90, 90, 190, 190]
    three = np.array([eye, face, other], float)
    assert boxes.drop_nested(three, np.array([0.6, 0.9, 0.5]), 0.7).tolist() == [1, 2]
    assert boxes.drop_nested(three, np.array([0.9, 0.6, 0.5]), 0.7).tolist() == [0, 2]
    assert boxes.drop_nested(three, np.array([0.9, 0.6, 0.5]), 1.0).tolist() == [0, 1, 2]
    assert boxes.drop_nested(np.zeros((0, 4)), np.zeros(0), 0.7).tolist() == []
