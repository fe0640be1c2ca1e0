"""From pictures to candidates: a first look at the whole, a second at what is in doubt.

The score of a cell hangs on where the face lies in the grid and how large it is. A doubtful box
is therefore looked at once more, mirrored and at a middling size, by the same network, and the
two opinions are averaged: lettering, hands and ears seldom look like a face twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featflow.geometry.boxes import iou
from featflow.nodes.face.tiny.network import cell_grid, decode
from featflow.nodes.face.tiny.node import SPEC
from featflow.nodes.face.tiny.thinning import thinned

FLOOR = 0.1
"""Score below which nothing is kept."""

DOUBTFUL = (0.25, 0.85)
"""First scores between these are looked at twice."""

FACE_SIDE = 40
"""Longer side of the box in the second look, pixels."""

CANVAS = 128
"""Side of the second look's picture."""

SAME_FACE = 0.4
"""Least overlap of a box of the second look with the one that is in doubt."""

NOTHING_SEEN = 0.02
"""Second score where no box of the second look lies there."""

CHUNK = 64
"""Second looks at one time: a crowd has hundreds."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Candidates:
    """What may be faces, in the pixels of the pictures that were looked at.

    Attributes:
        picture: (n,) which picture.
        boxes: (n, 4) x0, y0, x1, y1.
        points: (n, 5, 2).
        scores: (n,) 0..1.
    """

    picture: NDArray[np.int64]
    boxes: Floats
    points: Floats
    scores: Floats

    def __getitem__(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Candidates:
        """Some of them."""
        return Candidates(
            self.picture[rows], self.boxes[rows], self.points[rows], self.scores[rows]
        )


def find_candidates(
    model: nn.Module,
    pixels: NDArray[np.uint8],
    device: torch.device,
    nms_iou: float = 0.4,
    second_look: bool = True,
) -> Candidates:
    """Run a detector on pictures of one size.

    Args:
        model: the network, in evaluation mode.
        pixels: (n, H, W, 3) uint8 RGB, sides divisible by 64.
        device: where the network is.
        nms_iou: of two boxes in a picture that overlap more the weaker is dropped.
        second_look: look twice at what is in doubt.
    """
    raw: Tensor = model(SPEC.prepare(pixels, device)).cpu()
    found = first_look(raw, pixels.shape[1], pixels.shape[2], nms_iou)
    return look_again(model, pixels, found, device) if second_look else found


def first_look(raw: Tensor, height: int, width: int, nms_iou: float = 0.4) -> Candidates:
    """Decode raw predictions (n, cells, 15) of pictures of one size, thinned a picture."""
    picture, cell = torch.nonzero(raw[..., 0].sigmoid() >= FLOOR, as_tuple=True)
    chosen = raw[picture, cell]
    boxes, points = decode(chosen, cell_grid(height, width)[cell])
    every = Candidates(
        picture.numpy(),
        boxes.double().numpy(),
        points.double().numpy(),
        chosen[:, 0].double().sigmoid().numpy(),
    )
    kept = [np.zeros(0, np.int64)]
    for row in np.unique(every.picture):
        members = np.flatnonzero(every.picture == row)
        kept.append(members[thinned(every.boxes[members], every.scores[members], nms_iou)])
    return every[np.concatenate(kept)]


def look_again(
    model: nn.Module, pixels: NDArray[np.uint8], found: Candidates, device: torch.device
) -> Candidates:
    """The same candidates; the logit of each doubtful score is averaged with a second one."""
    low, high = DOUBTFUL
    rows = np.flatnonzero((found.scores > low) & (found.scores < high))
    scores = found.scores.copy()
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        seconds = _second_scores(model, pixels, found[part], device)
        mean = (_logit(found.scores[part]) + _logit(seconds)) / 2
        scores[part] = 1 / (1 + np.exp(-mean))
    return Candidates(found.picture, found.boxes, found.points, scores)


def _second_scores(
    model: nn.Module, pixels: NDArray[np.uint8], doubtful: Candidates, device: torch.device
) -> Floats:
    """(n,) best score of the second look's boxes that lie where the doubtful ones do."""
    shown = np.zeros((len(doubtful.scores), CANVAS, CANVAS, 3), np.uint8)
    expected = np.zeros((len(shown), 4))
    for row, (picture, box) in enumerate(zip(doubtful.picture, doubtful.boxes, strict=True)):
        shown[row], expected[row] = mirrored_patch(pixels[picture], box)
    seen = first_look(model(SPEC.prepare(shown, device)).cpu(), CANVAS, CANVAS)
    same = (
        np.diagonal(iou(expected[seen.picture], seen.boxes)) >= SAME_FACE
        if len(seen.scores)
        else np.zeros(0, np.bool_)
    )
    best = np.full(len(shown), NOTHING_SEEN)
    np.maximum.at(best, seen.picture[same], seen.scores[same])
    return best


def mirrored_patch(image: NDArray[np.uint8], box: Floats) -> tuple[NDArray[np.uint8], Floats]:
    """Surroundings of a box, mirrored, the box's longer side 40 of 128 pixels.

    Cut on whole pixels of the picture, averaged where they shrink, black outside.

    Returns:
        (128, 128, 3) uint8 and where the box lies in it, (4,).
    """
    height, width = image.shape[:2]
    longer = float(max(box[2] - box[0], box[3] - box[1]))
    side = max(8, round(longer * CANVAS / FACE_SIDE))
    x0, y0 = (round(float(v)) for v in (box[:2] + box[2:]) / 2 - side / 2)
    left, top = max(x0, 0), max(y0, 0)
    right, bottom = min(x0 + side, width), min(y0 + side, height)
    square = np.zeros((side, side, 3), np.uint8)
    if right > left and bottom > top:
        square[top - y0 : bottom - y0, left - x0 : right - x0] = image[top:bottom, left:right]
    how = cv2.INTER_AREA if side > CANVAS else cv2.INTER_LINEAR
    patch = cv2.resize(square, (CANVAS, CANVAS), interpolation=how)[:, ::-1]
    there = (box - np.array([x0, y0, x0, y0])) * (CANVAS / side)
    there[[0, 2]] = CANVAS - there[[2, 0]]
    return np.asarray(patch, np.uint8), there


def _logit(p: Floats) -> Floats:
    p = p.clip(1e-4, 1 - 1e-4)
    return np.asarray(np.log(p / (1 - p)), np.float64)
