"""The ``pose/pose_mlp`` node."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featflow.errors import WeightsError
from featflow.flow.batch import Batch
from featflow.hub.lookup import Weights
from featflow.nodes._published import PublishedNode, on_cpu, read_json
from featflow.nodes.networks.decode import pose_mlp_input, pose_mlp_pose, pose_mlp_statistics
from featflow.nodes.networks.preprocessing import Preprocessing


class PublishedPoseMLP(PublishedNode):
    """Head rotation from 68 landmarks, distilled from img2pose.

    The network sees landmarks without their place and size, so it cannot know where the head
    is: X, Y and Z are NaN. ``"reference"`` gives what py-feat writes there, and its three Euler
    angles in place of featflow's head angles.
    """

    kind, name, unit = "pose", "pose_mlp", "face"
    requires = ("box", "landmarks")
    provides = ("pose",)
    layout = "pose_mlp"
    batch_size = 64

    def __init__(
        self, weights: Weights | None = None, preprocessing: Preprocessing = "trained"
    ) -> None:
        super().__init__(weights, preprocessing)
        self._mean = np.zeros(6)
        self._std = np.ones(6)

    def configure(self, companions: list[Path]) -> None:
        """Read mean and spread of the training targets."""
        try:
            self._mean, self._std = pose_mlp_statistics(read_json(companions[0]))
        except WeightsError as error:
            raise WeightsError(f"{companions[0]}: {error}") from error

    def pre_process(self, batch: Batch) -> NDArray[np.float32]:
        """Landmarks about their mean, in units of the eyes' distance, (N, 136)."""
        return pose_mlp_input(batch.faces.landmarks)

    def process(self, inputs: NDArray[np.float32]) -> Tensor:
        """Standardised poses (N, 6)."""
        outputs: Tensor = on_cpu(self.model(torch.from_numpy(inputs).to(self.device)))
        return outputs

    def post_process(self, batch: Batch, outputs: Tensor) -> Mapping[str, NDArray[Any]]:
        """Pitch, roll, yaw in radians."""
        reference = self.preprocessing == "reference"
        pose = pose_mlp_pose(outputs.numpy(), self._mean, self._std, euler=reference)
        if not reference:
            pose[:, 3:] = np.nan
        return {"pose": pose.astype(np.float32)}
