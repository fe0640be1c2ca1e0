"""The ``landmark/tiny`` node."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featflow.flow.batch import Batch
from featflow.flow.node import InputSpec, Node
from featflow.geometry.crop import CropRule
from featflow.geometry.similarity import apply, invert

CROP = CropRule(size=112, anchor="points5", expansion=1.45, shift_y=0.11)
SPEC = InputSpec(crop=CROP, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


class LandmarkTiny(Node):
    """68 iBUG points and a confidence from a crop aligned by the detector's five points."""

    kind = "landmark"
    name = "tiny"
    unit = "face"
    requires = ("box", "points5")
    provides = ("landmarks", "landmark_score")
    spec = SPEC
    batch_size = 32

    def load(self, device: torch.device | str = "cpu") -> None:
        """Read the shipped weights."""
        super().load(device)

    def pre_process(self, batch: Batch) -> NDArray[np.uint8]:
        """Aligned crops (N, 112, 112, 3)."""
        return batch.crops(CROP)

    def process(self, inputs: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
        """Points in crop pixels (N, 68, 2) and confidence (N,)."""
        raise AssertionError

    def post_process(self, batch: Batch, outputs: Any) -> Mapping[str, NDArray[Any]]:
        """Points in original pixels."""
        points, score = outputs
        back = invert(CROP.matrices(batch.faces))
        return {"landmarks": apply(back, points), "landmark_score": score}
