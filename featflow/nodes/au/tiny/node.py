"""The ``au/tiny`` node."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from featflow.flow.batch import Batch
from featflow.flow.node import InputSpec
from featflow.geometry.centring import align51
from featflow.geometry.crop import CropRule
from featflow.geometry.similarity import apply
from featflow.nodes._network import NetworkNode
from featflow.nodes.au.tiny.network import ActionUnitNet, both_ways
from featflow.nodes.au.tiny.units import UNITS

CROP = CropRule(size=80, anchor="landmarks", expansion=1.3, shift_y=0.04)
"""From above the brows to below the chin, turned and scaled by the 51 inner points."""

SPEC = InputSpec(crop=CROP, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))

WITHHELD = ("AU06", "AU09", "AU11")
"""Units that are NaN, because no agreement of at least .3 could be shown; the card says why."""

LEAST_CONTRAST = 8
"""A crop whose lightest and darkest value lie closer than this shows nothing."""


class ActionUnitsTiny(NetworkNode):
    """20 action units, 0 to 1, from pixels and 68 landmarks.

    A value is the activation that the unit has in a face model (see the card), not the
    probability that a person would code it. Units that the node cannot tell (:data:`WITHHELD`)
    are NaN, and so are all units of a face whose crop shows nothing.
    """

    kind = "au"
    name = "tiny"
    unit = "face"
    requires = ("box", "landmarks")
    provides = ("aus",)
    shapes = MappingProxyType({"aus": (len(UNITS),)})
    spec = SPEC
    batch_size = 32

    def build(self) -> nn.Module:
        """The network of the recipe."""
        return ActionUnitNet(CROP.size)

    def pre_process(self, batch: Batch) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Aligned crops (N, 80, 80, 3) uint8 and aligned points (N, 68, 2)."""
        return batch.crops(CROP), aligned_points(batch.faces.landmarks)

    def process(self, inputs: tuple[NDArray[np.uint8], NDArray[np.float32]]) -> NDArray[np.float32]:
        """Units (N, 20), 0..1; NaN for crops that show nothing."""
        crops, points = inputs
        shown = SPEC.prepare(crops, self.device)
        logits = both_ways(self.model, shown, torch.from_numpy(points).to(self.device))
        units = logits.sigmoid().cpu().numpy()
        return np.where(blank(crops)[:, None], np.nan, units).astype(np.float32)

    def post_process(
        self, batch: Batch, outputs: NDArray[np.float32]
    ) -> Mapping[str, NDArray[Any]]:
        """Units, NaN where the node cannot tell them."""
        given = [name not in WITHHELD for name in UNITS]
        return {"aus": np.where(given, outputs, np.float32(np.nan))}


def aligned_points(landmarks: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Landmarks (N, 68, 2) on the unit square of the mean face, its middle at 0, 0."""
    points = np.asarray(landmarks, np.float64)
    return (apply(align51(points), points) - 0.5).astype(np.float32)


def blank(crops: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(N,) crops (N, S, S, 3) that are one flat colour."""
    low, high = crops.min((1, 2)).astype(int), crops.max((1, 2)).astype(int)
    return np.asarray((high - low).max(1) < LEAST_CONTRAST, np.bool_)
