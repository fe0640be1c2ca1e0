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

LARGE = 160.0
"""Boxes with a side of so many pixels are always looked at twice, and the second look places
them: the network sees too little of what lies around a large face, and makes its box too large."""

MIRROR_5 = np.array([1, 0, 2, 4, 3])
"""Order of the five points in a mirror image."""

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
    """The same candidates, with a second opinion of those that are in doubt or large.

    The logits of the two scores are averaged, and the boxes and points too; those of a large
    face are taken from the second look alone, which sees it whole.
    """
    low, high = DOUBTFUL
    sides = (found.boxes[:, 2:] - found.boxes[:, :2]).max(1, initial=0)
    rows = np.flatnonzero((found.scores > low) & ((found.scores < high) | (sides >= LARGE)))
    boxes, points, scores = found.boxes.copy(), found.points.copy(), found.scores.copy()
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        seen, again = _second_opinion(model, pixels, found[part], device)
        mean = (_logit(scores[part]) + _logit(again.scores)) / 2
        scores[part] = 1 / (1 + np.exp(-mean))
        same = part[seen]
        share = np.where(sides[same] >= LARGE, 1.0, 0.5)[:, None]
        boxes[same] += share * (again.boxes[seen] - boxes[same])
        points[same] += share[..., None] * (again.points[seen] - points[same])
    return Candidates(found.picture, boxes, points, scores)


def _second_opinion(
    model: nn.Module, pixels: NDArray[np.uint8], asked: Candidates, device: torch.device
) -> tuple[NDArray[np.bool_], Candidates]:
    """Which candidates are seen again, and what the second look says of them."""
    patches = [
        mirrored_patch(pixels[picture], box)
        for picture, box in zip(asked.picture, asked.boxes, strict=True)
    ]
    shown = np.stack([patch.pixels for patch in patches])
    # A single picture is computed by another path and rounds differently: rows would depend on
    # the size of the batch.
    pair = shown if len(shown) > 1 else np.repeat(shown, 2, axis=0)
    raw = model(SPEC.prepare(pair, device))[: len(shown)]
    seen = first_look(raw.cpu(), CANVAS, CANVAS)
    found = np.zeros(len(patches), np.bool_)
    boxes, points = asked.boxes.copy(), asked.points.copy()
    scores = np.full(len(patches), NOTHING_SEEN)
    for row in range(len(seen.scores)):
        at, score = int(seen.picture[row]), float(seen.scores[row])
        if score > scores[at] and iou(patches[at].box[None], seen.boxes[row][None]) >= SAME_FACE:
            found[at], scores[at] = True, score
            boxes[at], points[at] = patches[at].to_picture(seen.boxes[row], seen.points[row])
    return found, Candidates(asked.picture, boxes, points, scores)


@dataclass(frozen=True, slots=True)
class Patch:
    """Surroundings of a box at another size, mirrored.

    Attributes:
        pixels: (128, 128, 3) uint8 RGB.
        box: (4,) where the box lies in it.
        corner: (2,) x and y of the patch's corner in the picture.
        zoom: patch pixels per picture pixel.
    """

    pixels: NDArray[np.uint8]
    box: Floats
    corner: Floats
    zoom: float

    def to_picture(self, box: Floats, points: Floats) -> tuple[Floats, Floats]:
        """A box (4,) and five points (5, 2) of the patch, in pixels of the picture."""
        upright = np.array([CANVAS - box[2], box[1], CANVAS - box[0], box[3]])
        # In a mirror image the left eye is the right one.
        swapped = points[MIRROR_5] * [-1.0, 1.0] + [CANVAS, 0.0]
        return upright / self.zoom + np.tile(self.corner, 2), swapped / self.zoom + self.corner


def mirrored_patch(image: NDArray[np.uint8], box: Floats) -> Patch:
    """Surroundings of a box, mirrored, the box's longer side 40 of 128 pixels.

    Cut on whole pixels of the picture, averaged where they shrink, black outside.
    """
    height, width = image.shape[:2]
    longer = float(max(box[2] - box[0], box[3] - box[1]))
    side = max(8, 4 * round(longer * CANVAS / FACE_SIDE / 4))
    x0, y0 = (round(float(v)) for v in (box[:2] + box[2:]) / 2 - side / 2)
    left, top = max(x0, 0), max(y0, 0)
    right, bottom = min(x0 + side, width), min(y0 + side, height)
    square = np.zeros((side, side, 3), np.uint8)
    if right > left and bottom > top:
        square[top - y0 : bottom - y0, left - x0 : right - x0] = image[top:bottom, left:right]
    patch = _resized(square)
    zoom, corner = CANVAS / side, np.array([x0, y0], np.float64)
    there = (box - np.tile(corner, 2)) * zoom
    there[[0, 2]] = CANVAS - there[[2, 0]]
    return Patch(patch[:, ::-1], there, corner, zoom)


def _resized(square: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A square at the size of the second look, averaged where it shrinks."""
    while len(square) >= 2 * CANVAS:  # by two it is fast, by any other factor it is not
        half = len(square) // 2
        square = np.asarray(
            cv2.resize(square, (half, half), interpolation=cv2.INTER_AREA), np.uint8
        )
    how = cv2.INTER_AREA if len(square) > CANVAS else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (CANVAS, CANVAS), interpolation=how), np.uint8)


def _logit(p: Floats) -> Floats:
    p = p.clip(1e-4, 1 - 1e-4)
    return np.asarray(np.log(p / (1 - p)), np.float64)
