"""The ``landmark/tiny`` node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from featflow.flow.batch import Batch
from featflow.flow.node import InputSpec
from featflow.geometry.crop import CropRule
from featflow.geometry.similarity import apply, invert
from featflow.nodes._network import NetworkNode

CROP = CropRule(size=112, anchor="points5", expansion=1.45, shift_y=0.11)
"""The face turned upright by its five points, from above the brows to below the chin."""

SPEC = InputSpec(crop=CROP, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


class LandmarkTiny(NetworkNode):
    """68 iBUG points from a crop aligned by the detector's five points.

    ``landmark_score`` is the probability, learned on the training crops, that the mean error of
    the 68 points is below 8 % of the inter-ocular distance.
    """

    kind = "landmark"
    name = "tiny"
    unit = "face"
    requires = ("box", "points5")
    provides = ("landmarks", "landmark_score")
    spec = SPEC
    batch_size = 32

    def build(self) -> nn.Module:
        """The network of the recipe."""
        from featflow.nodes.landmark.tiny.network import LandmarkNet

        return LandmarkNet(CROP.size)

    def pre_process(self, batch: Batch) -> NDArray[np.uint8]:
        """Aligned crops (N, 112, 112, 3) uint8."""
        return batch.crops(CROP)

    def process(self, inputs: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
        """Points in crop pixels (N, 68, 2) and confidence 0..1 (N,)."""
        from featflow.nodes.landmark.tiny.network import both_ways

        points, logit = both_ways(self.model, SPEC.prepare(inputs, self.device))
        return points.cpu(), logit.sigmoid().cpu()

    def post_process(
        self, batch: Batch, outputs: tuple[Tensor, Tensor]
    ) -> Mapping[str, NDArray[Any]]:
        """Points carried back to original pixels; NaN, with their score, where no crop fits."""
        points, score = outputs
        back = invert(CROP.matrices(batch.faces))
        landmarks = apply(back, points.numpy()).astype(np.float32)
        known = np.isfinite(landmarks).all((1, 2))
        sure = np.where(known, score.numpy(), np.nan).astype(np.float32)
        return {"landmarks": landmarks, "landmark_score": sure}
