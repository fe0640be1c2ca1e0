"""A second pass of a landmark node, on a crop that its first pass has made upright."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.errors import OptionError
from featflow.extract.refeed import crop_rule_of
from featflow.extract.wrap import Wrapped
from featflow.flow.batch import Batch
from featflow.flow.checks import checked_fields
from featflow.flow.node import Node
from featflow.geometry.centring import align51
from featflow.geometry.landmarks import box_of_landmarks, five_points
from featflow.geometry.similarity import apply, compose, invert, scale_of


@dataclass(slots=True)
class UprightBatch(Batch):
    """Faces in coordinates of their own, in which each is upright; it lives inside a node.

    Attributes:
        views: (N, 2, 3) from original pixels to those of each face: a turn about its middle.
    """

    views: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2, 3)))

    def to_faces(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """From the working pixels of the frames to the coordinates of the faces, (N, 2, 3)."""
        return compose(self.views, Batch.to_faces(self, rows))


class Realign(Wrapped):
    """A landmark node that runs twice.

    The first pass runs as ever. Its 68 points then say how the face is tilted, where its five
    points are and where its box is; the second pass sees a crop that is cut by these from
    the frame, turned upright. Its points are the result.

    Args:
        node: gives ``landmarks`` from a crop.
        final: runs the second pass; ``node`` if None. A re-fed second pass behind a plain
            first one is ``Realign(node, Refeed(node, 8))``.

    Raises:
        OptionError: a node gives no landmarks or sees no crop.
    """

    def __init__(self, node: Node, final: Node | None = None) -> None:
        super().__init__(node, "realign")
        crop_rule_of(node)
        self.final = node if final is None else final
        crop_rule_of(self.final)
        if self.final.kind != node.kind:
            raise OptionError(f"re-aligning takes two {node.kind} nodes, not {self.final.id}")
        self.provides, self.shapes = self.final.provides, self.final.shapes
        self.name = f"{self.final.name}+realign"

    def load(self, device: Any = "cpu") -> None:
        """Load both passes."""
        super().load(device)
        self.final.load(device)

    def unload(self) -> None:
        """Unload both passes."""
        super().unload()
        self.final.unload()

    def pre_process(self, batch: Batch) -> tuple[Batch, Any]:
        """The batch, and what the first pass makes of it."""
        return batch, self.node.pre_process(batch)

    def process(self, inputs: tuple[Batch, Any]) -> tuple[UprightBatch, Any]:
        """Both passes; where to cut the second crop shows only here."""
        batch, prepared = inputs
        raw = self.node.post_process(batch, self.node.process(prepared))
        first = checked_fields(self.node, batch, raw)
        turned = upright(batch, first["landmarks"])
        return turned, self.final.process(self.final.pre_process(turned))

    def post_process(
        self, batch: Batch, outputs: tuple[UprightBatch, Any]
    ) -> Mapping[str, NDArray[Any]]:
        """Points of the second pass, carried back to the frame."""
        turned, raw = outputs
        result = checked_fields(self.final, turned, self.final.post_process(turned, raw))
        points = result["landmarks"]
        back = apply(invert(turned.views), points).astype(points.dtype)
        return {**result, "landmarks": back}


def upright(batch: Batch, landmarks: NDArray[Any]) -> UprightBatch:
    """The same faces, each turned upright about the middle of its landmarks (N, 68, 2)."""
    points = np.asarray(landmarks, np.float64)
    to_square = align51(points)
    views = np.zeros((len(points), 2, 3))
    views[:, :, :2] = to_square[:, :, :2] / scale_of(to_square)[:, None, None]
    middle = points.mean(1)
    views[:, :, 2] = middle - np.einsum("nij,nj->ni", views[:, :, :2], middle)
    seen = apply(views, points)
    geometry = {"box": box_of_landmarks(seen), "points5": five_points(seen), "landmarks": seen}
    faces = batch.faces.updated(geometry)
    return UprightBatch(batch.frames, faces, batch.min_score, views=views)
