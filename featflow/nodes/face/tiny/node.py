"""The ``face/tiny`` node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import nn

from featflow.errors import OptionError
from featflow.flow.batch import Batch, FaceBatch
from featflow.flow.node import InputSpec
from featflow.nodes._network import NetworkNode
from featflow.nodes.face.tiny.thinning import thinned

if TYPE_CHECKING:
    from featflow.nodes.face.tiny.look import Candidates

SPEC = InputSpec(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))

OVERVIEW_SIDE = 640
"""Longer side of the largest training canvas: what is larger is looked at once more, at this
size, for the faces that the network never saw that large."""

LARGEST_IN_DETAIL = 320.0
"""Faces with more pixels than this are left to the overview, where there is one."""

_MULTIPLE = 64


@dataclass(frozen=True, slots=True)
class View:
    """Frames of one size, stacked.

    Attributes:
        rows: (n,) row of each picture in the frame batch.
        scales: (n, 2) pixels of the view per original pixel, x and y.
        largest: (n,) faces above this many view pixels are not taken from this view.
        pixels: (n, H, W, 3) uint8, sides divisible by 64, black where padded.
    """

    rows: NDArray[np.int64]
    scales: NDArray[np.float64]
    largest: NDArray[np.float64]
    pixels: NDArray[np.uint8]


class FaceTiny(NetworkNode):
    """Boxes, scores and five points of all faces in a frame.

    Args:
        max_side: frames with a longer side are shrunk to it before detection (original
            coordinates come out all the same). Faces below 16 pixels after that are not promised.
        nms_iou: of two boxes that overlap more than this the weaker is dropped.
        second_look: look once more at boxes that are in doubt, mirrored and at another size.
            It costs little (a patch of 128 pixels a box) and removes most false faces.
    """

    kind = "face"
    name = "tiny"
    unit = "frame"
    provides = ("box", "score", "points5")
    spec = SPEC

    def __init__(
        self, max_side: int = 1600, nms_iou: float = 0.4, second_look: bool = True
    ) -> None:
        super().__init__()
        if max_side < _MULTIPLE or not 0 < nms_iou < 1:
            raise OptionError(
                f"face/tiny: max_side must be at least {_MULTIPLE} and nms_iou between 0 and 1, "
                f"got {max_side} and {nms_iou}"
            )
        self.max_side = max_side
        self.nms_iou = nms_iou
        self.second_look = second_look

    def build(self) -> nn.Module:
        """The network of the recipe."""
        from featflow.nodes.face.tiny.network import FaceNet

        return FaceNet()

    def pre_process(self, batch: Batch) -> list[View]:
        """Frames at detection size, grouped by padded size; large ones also as an overview."""
        groups: dict[tuple[int, int], list[tuple[int, float, NDArray[np.uint8]]]] = {}
        for row, image in enumerate(batch.frames.images):
            for picture, largest in self._views_of(image):
                height, width = picture.shape[:2]
                shape = (_rounded_up(height), _rounded_up(width))
                groups.setdefault(shape, []).append((row, largest, picture))
        return [self._stack(batch, shape, members) for shape, members in groups.items()]

    def _views_of(self, image: NDArray[np.uint8]) -> list[tuple[NDArray[np.uint8], float]]:
        if image.size == 0:
            return []
        detail = _shrunk(image, self.max_side)
        if max(detail.shape[:2]) <= OVERVIEW_SIDE:
            return [(detail, np.inf)]
        return [(detail, LARGEST_IN_DETAIL), (_shrunk(detail, OVERVIEW_SIDE), np.inf)]

    @staticmethod
    def _stack(
        batch: Batch,
        shape: tuple[int, int],
        members: list[tuple[int, float, NDArray[np.uint8]]],
    ) -> View:
        pixels = np.zeros((len(members), *shape, 3), np.uint8)
        rows = np.array([row for row, _, _ in members], np.int64)
        scales = np.zeros((len(members), 2))
        for index, (row, _, picture) in enumerate(members):
            height, width = picture.shape[:2]
            pixels[index, :height, :width] = picture
            original_height, original_width = batch.frames.sizes_px[row]
            scales[index] = width / original_width, height / original_height
        return View(rows, scales, np.array([largest for _, largest, _ in members]), pixels)

    def process(self, inputs: list[View]) -> list[tuple[View, Candidates]]:
        """What may be faces in each view, in its pixels, looked at twice."""
        return [(view, self._candidates(view)) for view in inputs]

    def _candidates(self, view: View) -> Candidates:
        from featflow.nodes.face.tiny.look import find_candidates

        return find_candidates(self.model, view.pixels, self.device, self.nms_iou, self.second_look)

    def post_process(self, batch: Batch, outputs: list[tuple[View, Candidates]]) -> FaceBatch:
        """Boxes and points in original pixels, strongest first in each frame."""
        found = [_in_frames(view, seen, batch.min_score) for view, seen in outputs]
        if not found:
            return FaceBatch.empty()
        rows, boxes, points, scores = (
            np.concatenate([part[i] for part in found]) for i in range(4)
        )
        kept: list[NDArray[np.int64]] = []
        for row in np.unique(rows):
            members = np.flatnonzero(rows == row)
            kept.append(members[thinned(boxes[members], scores[members], self.nms_iou)])
        chosen = np.concatenate(kept) if kept else np.zeros(0, np.int64)
        return FaceBatch(
            batch.frames.uids[rows[chosen]],
            {
                "box": boxes[chosen].astype(np.float32),
                "score": scores[chosen].astype(np.float32),
                "points5": points[chosen].astype(np.float32),
            },
        )


def _in_frames(
    view: View, found: Candidates, min_score: float
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Frame row, box, points and score, in original pixels, of those that the view answers for."""
    size = (found.boxes[:, 2:] - found.boxes[:, :2]).max(1, initial=0)
    ours = found[(found.scores >= min_score) & (size <= view.largest[found.picture])]
    scale = view.scales[ours.picture]
    return (
        view.rows[ours.picture],
        ours.boxes / np.tile(scale, 2),
        ours.points / scale[:, None],
        ours.scores,
    )


def _rounded_up(side: int) -> int:
    return -(-side // _MULTIPLE) * _MULTIPLE


def _shrunk(image: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    factor = longest / max(height, width)
    if factor >= 1:
        return image
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
