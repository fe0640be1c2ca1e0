"""The ``blendshapes/mp_mixer`` node."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featflow.errors import ArrayError
from featflow.flow.batch import Batch
from featflow.nodes._published import PublishedNode, on_cpu
from featflow.nodes.networks.mp_mixer import BLENDSHAPES, MESH_POINTS

MESH_SIZE = 478


class MixerBlendshapes(PublishedNode):
    """52 blendshapes of a MediaPipe mesh of 478 points.

    No node of featflow gives a mesh, so a detector has no slot for this one: it runs in a flow
    whose faces come with a field ``mesh``, or beside a node of your own that provides it. Both
    ways of preprocessing are the same.
    """

    kind, name, unit = "blendshapes", "mp_mixer", "face"
    requires = ("mesh",)
    provides = ("blendshapes",)
    shapes = MappingProxyType({"blendshapes": (len(BLENDSHAPES),)})
    layout = "mp_blendshapes"
    batch_size = 64

    def pre_process(self, batch: Batch) -> NDArray[np.float32]:
        """The points that the network sees, (N, 146, 2), of meshes in original pixels.

        Place and scale are taken out in double precision: single precision is too coarse for a
        small face far from the frame's corner.

        Raises:
            ArrayError: ``mesh`` is not (N, 478, 2) or (N, 478, 3).
        """
        mesh = batch.faces.fields["mesh"]
        if mesh.ndim != 3 or mesh.shape[1] != MESH_SIZE or mesh.shape[2] not in (2, 3):
            raise ArrayError(
                "mesh", f"has shape {mesh.shape}", "give (N, 478, 2) or (N, 478, 3) pixels"
            )
        points = mesh[:, list(MESH_POINTS), :2].astype(np.float64)
        points -= points.mean(1, keepdims=True)
        length = np.linalg.norm(points, axis=2).mean(1)[:, None, None]
        # A mesh of one point has no shape; the network would divide by 0 as well.
        return np.asarray(points / np.where(length > 0, length, np.nan), np.float32)

    def process(self, inputs: NDArray[np.float32]) -> Tensor:
        """Activations (N, 52)."""
        outputs: Tensor = on_cpu(self.model(torch.from_numpy(inputs).to(self.device)))
        return outputs[:, :, 0, 0]

    def post_process(self, batch: Batch, outputs: Tensor) -> Mapping[str, NDArray[Any]]:
        """(N, 52), 0 to 1, in the order of :data:`featflow.nodes.networks.mp_mixer.BLENDSHAPES`."""
        return {"blendshapes": np.asarray(outputs.numpy(), np.float32)}
