"""The ``pose/mlp`` node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featflow.flow.batch import Batch
from featflow.geometry.rotation import angles_from_rotation
from featflow.nodes._network import NetworkNode

Floats = NDArray[np.floating[Any]]


class PoseMLP(NetworkNode):
    """Head rotation and position from 68 landmarks.

    Angles are those of the head as it is seen along the line of sight, which is what the
    landmarks show: a face that looks straight into the camera has yaw and pitch 0 wherever it
    stands in the frame. The position is that of the head's origin, 7.5 cm behind the tip of
    the nose, for a pinhole camera whose focal length is the longer side of the frame and for an
    adult head: a longer lens or a larger head moves it away in proportion.

    Provides ``pose`` (N, 6): pitch, roll, yaw in radians; X right and Y up from the optical
    axis (the centre of the frame) and distance Z along it, in centimetres. NaN where a
    landmark is unknown.
    """

    kind = "pose"
    name = "mlp"
    unit = "face"
    requires = ("landmarks",)
    provides = ("pose",)
    batch_size = 256

    def build(self) -> nn.Module:
        """The network of the recipe."""
        from featflow.nodes.pose.mlp.network import PoseNet

        return PoseNet()

    def pre_process(self, batch: Batch) -> Tensor:
        """Normalised landmarks (N, 68, 2); NaN stays NaN."""
        points, _, _ = normalise(batch.faces.landmarks)
        return torch.from_numpy(points.astype(np.float32))

    def process(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rotations (N, 3, 3), log scales (N,) and origins (N, 2) in units of the spread."""
        rotation, scale, origin = self.model(inputs.to(self.device))
        return rotation.cpu(), scale.cpu(), origin.cpu()

    def post_process(
        self, batch: Batch, outputs: tuple[Tensor, Tensor, Tensor]
    ) -> Mapping[str, NDArray[Any]]:
        """Angles and position."""
        rotation, scale, origin = (np.asarray(x, np.float64) for x in outputs)
        _, centre, spread = normalise(batch.faces.landmarks)
        place = position(
            np.exp(scale) * spread, centre + origin * spread[:, None], batch.frame_sizes_px
        )
        pose = np.concatenate([angles_from_rotation(rotation), place], -1)
        pose[~np.isfinite(pose).all(-1)] = np.nan
        return {"pose": pose.astype(np.float32)}


def normalise(
    landmarks: Floats,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Landmarks (N, 68, 2) with mean 0 and root mean square distance 1.

    Returns:
        The points, their mean (N, 2) and their root mean square distance from it (N,); all NaN
        where a point is unknown or all coincide.
    """
    points = np.asarray(landmarks, np.float64)
    centre = points.mean(1)
    away = points - centre[:, None]
    spread = np.sqrt((away**2).sum(2).mean(1))
    spread = np.where(spread > 1e-9 * (1 + np.abs(centre).max(1)), spread, np.nan)
    return away / spread[:, None, None], centre, spread


def position(
    scale: Floats, origin: Floats, frame_sizes_px: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    """Where a point stands that is seen at ``origin`` with so many pixels per centimetre.

    For a pinhole camera that looks at the centre of the frame and whose focal length is the
    longer side of the frame.

    Args:
        scale: (N,) pixels per centimetre.
        origin: (N, 2) original pixels, y down.
        frame_sizes_px: (N, 2) height and width.

    Returns:
        (N, 3) X right, Y up and distance Z along the optical axis, centimetres.
    """
    sizes = np.asarray(frame_sizes_px, np.float64)
    middle = sizes[:, ::-1] / 2
    aside = (np.asarray(origin, np.float64) - middle) / np.asarray(scale)[:, None]
    distance = sizes.max(1) / scale
    return np.stack([aside[:, 0], -aside[:, 1], distance], -1)
