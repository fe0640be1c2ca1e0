"""The ``face/img2pose`` node."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from featflow.errors import WeightsError
from featflow.flow.batch import Batch, FaceBatch
from featflow.geometry.landmarks import OUTER_EYE_CORNERS
from featflow.geometry.mean_face import FACE68_CM
from featflow.hub.lookup import Weights
from featflow.nodes._frames import FrameView, gathered, views
from featflow.nodes._published import PublishedNode, on_cpu, read_json
from featflow.nodes.networks.decode import pose_from_raw
from featflow.nodes.networks.img2pose_decode import (
    Img2PoseConfig,
    Img2PoseFaces,
    img2pose_detect,
)
from featflow.nodes.networks.preprocessing import Preprocessing, network_input

Doubles = NDArray[np.float64]
Outputs = list[tuple[FrameView, tuple[int, int], tuple[Any, Any, Any]]]


class Img2PoseNode(PublishedNode):
    """Boxes, scores, five points and poses of all faces in a frame.

    ``"trained"`` gives poses in featflow's convention: head angles, centimetres, and a camera
    whose focal length is the longer side of the frame. ``"reference"`` gives py-feat's three
    Euler angles and the translation in the units of the checkpoint's template.

    The five points are those of the template seen in the pose, not of the face itself.
    """

    kind, name, unit = "face", "img2pose", "frame"
    provides = ("box", "score", "points5", "pose")
    layout = "img2pose"
    batch_size = 4

    def __init__(
        self, weights: Weights | None = None, preprocessing: Preprocessing = "trained"
    ) -> None:
        super().__init__(weights, preprocessing)
        self.input = network_input(self.layout, preprocessing)
        self.spec = self.input.spec
        self._config: Img2PoseConfig | None = None

    def configure(self, companions: list[Path]) -> None:
        """Read ``config.json``: template, mean and spread of poses, and the size of pictures."""
        try:
            self._config = Img2PoseConfig.from_json(read_json(companions[0]))
        except WeightsError as error:
            raise WeightsError(f"{companions[0]}: {error}") from error
        limits = self._config.side_limits or self.input.side_limits
        self.input = replace(self.input, side_limits=limits)

    def pre_process(self, batch: Batch) -> list[FrameView]:
        """Frames grouped by size."""
        return views(batch)

    def process(self, inputs: list[FrameView]) -> Outputs:
        """Regions, scores and standardised poses, with the size at which the network saw them."""
        results: Outputs = []
        for view in inputs:
            tensor = self.spec.prepare(view.pixels, self.device)
            size = limited_size(view.pixels.shape[1:3], self.input.side_limits)
            tensor = torch.nn.functional.interpolate(
                tensor, size=size, mode="bilinear", align_corners=False
            )
            results.append((view, size, on_cpu(self.model(tensor))))
        return results

    def post_process(self, batch: Batch, outputs: Outputs) -> FaceBatch:
        """Boxes and points in original pixels, strongest first in each frame."""
        config = self._config
        assert config is not None  # noqa: S101 - read with the weights
        found = []
        for view, size, (regions, scores, poses) in outputs:
            resized = np.array(size[::-1]) / np.array(view.pixels.shape[2:0:-1])
            for at, row in enumerate(view.rows):
                faces = img2pose_detect(
                    regions[at].numpy(),
                    scores[at].numpy(),
                    poses[at].numpy(),
                    size,
                    config,
                    batch.min_score,
                )
                scale = view.scales[at] * resized
                described = {
                    "box": faces.boxes / np.tile(scale, 2),
                    "score": faces.scores,
                    "points5": faces.points5 / scale,
                    "pose": self._pose(faces, size, config),
                }
                found.append((int(row), described))
        return gathered(batch, found, self.provides)

    def _pose(self, faces: Img2PoseFaces, size: tuple[int, int], config: Img2PoseConfig) -> Doubles:
        reference = self.preprocessing == "reference"
        pose = pose_from_raw(faces.raw_pose, euler=reference)
        if not reference:
            pose[:, 3:] = centimetres(pose[:, 3:], size, config.template)
        return pose


def limited_size(size: tuple[int, ...], limits: tuple[int, int] | None) -> tuple[int, int]:
    """(height, width) whose shorter side is ``limits[0]``, its longer at most ``limits[1]``."""
    height, width = size
    if limits is None:
        return height, width
    scale = min(limits[0] / min(size), limits[1] / max(size))
    # Rounded down, as in training; a thousandth of a pixel is the division's own error.
    return max(1, int(height * scale + 1e-3)), max(1, int(width * scale + 1e-3))


def centimetres(translations: Doubles, size: tuple[int, int], template: Doubles) -> Doubles:
    """img2pose's translations (N, 3) in featflow's camera.

    One unit of the template is as long as makes its outer eye corners as far apart as those of
    the mean face. The camera's focal length falls from width plus height to the longer side,
    and the distance with it, so that a face stays where it is seen and as large.
    """
    left, right = OUTER_EYE_CORNERS
    unit = np.linalg.norm(FACE68_CM[left] - FACE68_CM[right])
    unit = unit / np.linalg.norm(template[left] - template[right])
    return np.asarray(translations * unit * [1.0, -1.0, max(size) / sum(size)], np.float64)
