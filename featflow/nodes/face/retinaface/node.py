"""The ``face/retinaface`` node."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.errors import OptionError
from featflow.flow.batch import Batch, FaceBatch
from featflow.hub.lookup import Weights
from featflow.nodes._frames import FrameView, gathered, views
from featflow.nodes._published import PublishedNode, on_cpu
from featflow.nodes.networks.anchors import retinaface_anchors, retinaface_faces
from featflow.nodes.networks.preprocessing import Preprocessing, network_input

Outputs = list[tuple[FrameView, tuple[Any, Any, Any]]]


class RetinaFaceNode(PublishedNode):
    """Boxes, scores and five points of all faces in a frame, at the frame's own size.

    Args:
        weights, preprocessing: see :class:`featflow.nodes._published.PublishedNode`.
        nms_iou: of two boxes that overlap more than this the weaker is dropped.
    """

    kind, name, unit = "face", "retinaface", "frame"
    provides = ("box", "score", "points5")
    layout = "retinaface_r34"

    def __init__(
        self,
        weights: Weights | None = None,
        preprocessing: Preprocessing = "trained",
        nms_iou: float = 0.4,
    ) -> None:
        super().__init__(weights, preprocessing)
        if not 0 < nms_iou < 1:
            raise OptionError(f"{self.id}: nms_iou must be between 0 and 1, got {nms_iou}")
        self.nms_iou = nms_iou
        self.spec = network_input(self.layout, preprocessing).spec

    def pre_process(self, batch: Batch) -> list[FrameView]:
        """Frames grouped by size."""
        return views(batch)

    def process(self, inputs: list[FrameView]) -> Outputs:
        """Box deltas, probabilities and point deltas of every anchor."""
        return [(v, on_cpu(self.model(self.spec.prepare(v.pixels, self.device)))) for v in inputs]

    def post_process(self, batch: Batch, outputs: Outputs) -> FaceBatch:
        """Boxes and points in original pixels, strongest first in each frame."""
        found = []
        for view, (deltas, scores, points) in outputs:
            anchors = retinaface_anchors(*view.pixels.shape[1:3])
            for at, row in enumerate(view.rows):
                boxes, sure, five = retinaface_faces(
                    deltas[at].numpy(),
                    scores[at].numpy(),
                    points[at].numpy(),
                    anchors,
                    min_score=batch.min_score,
                    iou_threshold=self.nms_iou,
                )
                scale = view.scales[at]
                faces: dict[str, NDArray[np.float64]] = {
                    "box": boxes / np.tile(scale, 2),
                    "score": sure,
                    "points5": five / scale,
                }
                found.append((int(row), faces))
        return gathered(batch, found, self.provides)
