"""Axis-aligned boxes: overlap, suppression, and changes of size and form.

A box is ``x0, y0, x1, y1`` in continuous pixels, so its width is ``x1 - x0`` with no
"plus one". Functions take any number of leading axes unless they say otherwise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.errors import OptionError

Floats = NDArray[np.floating[Any]]

_NMS_BLOCK = 128


def area(boxes: Floats) -> NDArray[np.float64]:
    """Area of boxes (..., 4) in square pixels; 0 where a box is inside out."""
    b = np.asarray(boxes, np.float64)
    sides = np.maximum(b[..., 2:] - b[..., :2], 0.0)
    return np.asarray(sides[..., 0] * sides[..., 1], np.float64)


def iou(a: Floats, b: Floats) -> NDArray[np.float64]:
    """Intersection over union of every box of ``a`` (N, 4) with every box of ``b`` (M, 4).

    Returns:
        (N, M), 0..1; 0 where both boxes are empty.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    shared = _shared_length(a, b, 0)
    shared *= _shared_length(a, b, 1)
    union = area(a)[:, None] + area(b)[None] - shared
    ratio = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return np.asarray(ratio, np.float64)


def nesting(a: Floats, b: Floats) -> NDArray[np.float64]:
    """Intersection over the smaller of two boxes, every one of ``a`` with every one of ``b``.

    Returns:
        (N, M), 0..1; 1 where one lies inside the other, 0 where one is empty.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    shared = _shared_length(a, b, 0) * _shared_length(a, b, 1)
    smaller = np.minimum(area(a)[:, None], area(b)[None])
    return np.divide(shared, smaller, out=np.zeros_like(shared), where=smaller > 0)


def drop_nested(boxes: Floats, scores: Floats, share: float) -> NDArray[np.int64]:
    """Of two boxes where one holds more than ``share`` of the other, keep the stronger.

    What :func:`nms` leaves when boxes differ much in size: an eye found inside a face.

    Args:
        boxes: (N, 4), already thinned: the cost grows with the square of N.
        scores: (N,) finite.
        share: 0..1; at 1 nothing is dropped.

    Returns:
        Indices of the boxes kept, highest score first, equal scores in the order given.
    """
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    ranked = np.asarray(boxes, np.float64)[order]
    return order[_greedy(nesting(ranked, ranked) > share)]


def _shared_length(a: Floats, b: Floats, axis: int) -> NDArray[np.float64]:
    """Length (N, M) that boxes have in common along x (0) or y (1)."""
    length = np.minimum(a[:, None, axis + 2], b[None, :, axis + 2])
    length -= np.maximum(a[:, None, axis], b[None, :, axis])
    return np.maximum(length, 0.0)


def nms(boxes: Floats, scores: Floats, iou_threshold: float) -> NDArray[np.int64]:
    """Greedy non-maximum suppression.

    Boxes are visited from the highest score down, equal scores in the order given; a box is
    dropped where it overlaps one already kept by more than ``iou_threshold``.

    Args:
        boxes: (N, 4).
        scores: (N,) finite.
        iou_threshold: 0..1; at 1 nothing is dropped.

    Returns:
        Indices of the boxes kept, highest score first.

    Raises:
        OptionError: lengths differ, or the threshold is out of range.
    """
    boxes, scores = np.asarray(boxes, np.float64), np.asarray(scores, np.float64)
    if boxes.shape != (len(scores), 4) or scores.ndim != 1:
        raise OptionError(
            f"nms needs boxes (N, 4) and scores (N,), got {boxes.shape} and {scores.shape}"
        )
    if not 0.0 <= iou_threshold <= 1.0:
        raise OptionError(f"iou_threshold must lie in 0..1, got {iou_threshold}")
    waiting = np.argsort(-scores, kind="stable")
    kept: list[NDArray[np.int64]] = []
    while len(waiting):
        head, tail = waiting[:_NMS_BLOCK], waiting[_NMS_BLOCK:]
        winners = head[_greedy(iou(boxes[head], boxes[head]) > iou_threshold)]
        kept.append(winners)
        waiting = tail[~_overlaps_any(boxes[tail], boxes[winners], iou_threshold)]
    return np.concatenate(kept) if kept else np.zeros(0, np.int64)


def _greedy(clash: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Rows kept when each kept row drops the later rows that it clashes with."""
    alive = np.ones(len(clash), bool)
    for row in range(len(clash)):
        if alive[row]:
            alive[row + 1 :] &= ~clash[row, row + 1 :]
    return np.flatnonzero(alive)


def _overlaps_any(boxes: Floats, winners: Floats, threshold: float) -> NDArray[np.bool_]:
    """Which boxes overlap any winner; in pieces that stay in the processor's cache."""
    pieces = [
        (iou(boxes[start : start + 256], winners) > threshold).any(1)
        for start in range(0, len(boxes), 256)
    ]
    return np.concatenate(pieces) if pieces else np.zeros(0, bool)


def clip(boxes: Floats, size_px: tuple[int, int]) -> NDArray[np.float64]:
    """Cut boxes (..., 4) off at the edges of a picture of (height, width) pixels."""
    height, width = size_px
    return np.clip(np.asarray(boxes, np.float64), 0.0, [width, height, width, height])


def centre(boxes: Floats) -> NDArray[np.float64]:
    """Middle of boxes (..., 4), as (..., 2)."""
    b = np.asarray(boxes, np.float64)
    return (b[..., :2] + b[..., 2:]) / 2


def scale_about_centre(boxes: Floats, factor: float) -> NDArray[np.float64]:
    """Grow (or shrink, below 1) both sides of boxes (..., 4) about their centres."""
    b = np.asarray(boxes, np.float64)
    half = (b[..., 2:] - b[..., :2]) * (factor / 2)
    return np.concatenate([centre(b) - half, centre(b) + half], -1)


def square(boxes: Floats) -> NDArray[np.float64]:
    """Squares of the longer side about the centres of boxes (..., 4)."""
    b = np.asarray(boxes, np.float64)
    half = (b[..., 2:] - b[..., :2]).max(-1, keepdims=True) / 2
    return np.concatenate([centre(b) - half, centre(b) + half], -1)


def to_xywh(boxes: Floats) -> NDArray[np.float64]:
    """From ``x0, y0, x1, y1`` to ``x, y, width, height`` of the top-left corner."""
    b = np.asarray(boxes, np.float64)
    return np.concatenate([b[..., :2], b[..., 2:] - b[..., :2]], -1)


def from_xywh(boxes: Floats) -> NDArray[np.float64]:
    """From ``x, y, width, height`` of the top-left corner to ``x0, y0, x1, y1``."""
    b = np.asarray(boxes, np.float64)
    return np.concatenate([b[..., :2], b[..., :2] + b[..., 2:]], -1)
