"""The ``gaze/tiny`` node."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featflow.flow.batch import Batch
from featflow.flow.node import InputSpec
from featflow.geometry.centring import align51
from featflow.geometry.crop import CropRule
from featflow.geometry.landmarks import PARTS
from featflow.geometry.similarity import apply
from featflow.nodes._network import NetworkNode
from featflow.nodes.networks.decode import gaze_angle

Floats = NDArray[np.floating[Any]]

EYE_SPAN = 0.36
"""Side of an eye crop in unit squares of the aligned face; an eye is .22 wide."""

RIGHT_EYE = CropRule(size=48, anchor="landmarks", expansion=EYE_SPAN, centring="right_eye")
LEFT_EYE = CropRule(size=48, anchor="landmarks", expansion=EYE_SPAN, centring="left_eye")
_ROWS = slice(8, 40)

SPEC = InputSpec(crop=RIGHT_EYE, channels="grey", mean=(0.5,), std=(0.25,))


class Inputs(NamedTuple):
    """What the network is shown of N faces.

    Attributes:
        right: (N, 32, 48, 3) uint8, the subject's right eye, upright.
        left: (N, 32, 48, 3) uint8, the left eye, upright and mirrored.
        points: (N, 68, 2) float32 landmarks in the unit square, its middle at 0.
    """

    right: NDArray[np.uint8]
    left: NDArray[np.uint8]
    points: NDArray[np.float32]


class GazeTiny(NetworkNode):
    """Where the eyes look, as it is seen along the line of sight.

    Provides ``gaze`` (N, 3): pitch (+ up), yaw (+ to the subject's right, which is the image
    left) and the angle to the axis, radians; and ``gaze_score`` (N,), the probability, learned on
    the training crops, that the direction is within 8 degrees of the teachers'. Both are NaN
    where landmarks are unknown or both eyes lie off the frame. A turn of the picture turns the
    gaze by as much, and a mirror negates its yaw, as far as the landmarks do so.
    """

    kind = "gaze"
    name = "tiny"
    unit = "face"
    requires = ("landmarks",)
    provides = ("gaze", "gaze_score")
    shapes = MappingProxyType({"gaze": (3,)})
    spec = SPEC
    batch_size = 32

    def build(self) -> nn.Module:
        """The network of the recipe."""
        from featflow.nodes.gaze.tiny.network import GazeNet

        return GazeNet()

    def pre_process(self, batch: Batch) -> Inputs:
        """Eye patches and aligned landmarks."""
        return Inputs(
            patch(batch.crops(RIGHT_EYE)),
            mirrored(patch(batch.crops(LEFT_EYE))),
            aligned_points(batch.faces.landmarks),
        )

    def process(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Pitch and yaw (N, 2) of the upright face, and confidence 0..1 (N,)."""
        eyes = (SPEC.prepare(images, self.device) for images in (inputs.right, inputs.left))
        said = self.model(*eyes, torch.from_numpy(inputs.points).to(self.device))
        return said.angles.cpu(), said.logit.sigmoid().cpu()

    def post_process(
        self, batch: Batch, outputs: tuple[Tensor, Tensor]
    ) -> Mapping[str, NDArray[Any]]:
        """Angles of the face as it stands in the picture."""
        angles, score = outputs
        matrices = align51(batch.faces.landmarks)
        gaze = turned_back(angles.numpy(), matrices)
        both = np.concatenate([gaze, gaze_angle(gaze)[:, None]], 1).astype(np.float32)
        both[~eye_in_frame(batch)] = np.nan
        known = np.isfinite(both).all(1)
        both[~known] = np.nan
        return {"gaze": both, "gaze_score": np.where(known, score.numpy(), np.nan)}


def patch(crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The middle rows (N, 32, 48, 3) of square eye crops."""
    return crops[:, _ROWS]


def mirrored(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures (N, H, W, 3) seen in a mirror."""
    return images[:, :, ::-1]


def aligned_points(landmarks: Floats) -> NDArray[np.float32]:
    """Landmarks (N, 68, 2) in the unit square of the aligned face, its middle at 0."""
    points = apply(align51(landmarks), np.asarray(landmarks, np.float64)) - 0.5
    return points.astype(np.float32)


def eye_in_frame(batch: Batch) -> NDArray[np.bool_]:
    """(N,) whether the middle of an eye lies on the picture."""
    seen = np.zeros(len(batch.faces), np.bool_)
    for eye in (PARTS["right_eye"], PARTS["left_eye"]):
        middle = batch.faces.landmarks[:, eye.start : eye.stop].mean(1)
        inside = (middle >= 0) & (middle < batch.frame_sizes_px[:, ::-1])
        seen |= inside.all(1)
    return seen


def turned_back(angles: Floats, matrices: Floats) -> NDArray[np.float64]:
    """Gaze of upright faces as it is in the picture that they were cut from.

    Args:
        angles: (N, 2) pitch and yaw after the turn.
        matrices: (N, 2, 3) maps that turned the faces upright; scale and shift do not matter.

    Returns:
        (N, 2) pitch and yaw before the turn.
    """
    return _turned(angles, np.asarray(matrices)[:, :, :2], inverse=True)


def turned(angles: Floats, matrices: Floats) -> NDArray[np.float64]:
    """Gaze (N, 2) in a picture as it is after maps (N, 2, 3); inverse of :func:`turned_back`."""
    return _turned(angles, np.asarray(matrices)[:, :, :2], inverse=False)


def _turned(angles: Floats, linear: Floats, inverse: bool) -> NDArray[np.float64]:
    pitch, yaw = np.asarray(angles, np.float64).T
    # In pixels, y down: where the eyes look to in the picture, and how far towards the camera.
    across = np.stack([-np.sin(yaw) * np.cos(pitch), -np.sin(pitch)], -1)
    towards = np.cos(yaw) * np.cos(pitch)
    unit = linear / np.linalg.norm(linear[:, 0], axis=-1)[:, None, None]
    x, y = np.einsum("nji,nj->ni" if inverse else "nij,nj->ni", unit, across).T
    return np.stack([np.arcsin(np.clip(-y, -1.0, 1.0)), np.arctan2(-x, towards)], -1)
