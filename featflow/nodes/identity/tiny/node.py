"""The ``identity/tiny`` node."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featflow.flow.batch import Batch
from featflow.flow.node import InputSpec
from featflow.geometry.crop import CropRule
from featflow.geometry.similarity import scale_of
from featflow.nodes._network import NetworkNode
from featflow.nodes.identity.tiny.network import DIMENSIONS, IdentityNet, both_ways

CROP = CropRule(size=64, anchor="landmarks5")
"""The recognition crop at 64 pixels: five points on the template of ArcFace.

The five points are those of the 68 landmarks. The detector's own turn the face by 6 degrees and
shift it by 4 % in standard deviation, those of ``landmark/tiny`` by 1 degree and 0.5 %."""

SPEC = InputSpec(crop=CROP, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))

LARGEST_SCALE = 4.0
"""A face that must be enlarged more than this has no embedding: its eyes are less than 5 pixels
apart. At 5 pixels the area under the curve falls from 0.95 to 0.91, at 4 to 0.86."""

LEAST_CONTRAST = 16
"""Grey levels between the darkest and the brightest value of a crop that shows something."""


class IdentityTiny(NetworkNode):
    """128 numbers of length 1 whose dot product says how alike two faces are."""

    kind = "identity"
    name = "tiny"
    unit = "face"
    requires = ("box", "landmarks")
    provides = ("embedding",)
    shapes = MappingProxyType({"embedding": (DIMENSIONS,)})
    spec = SPEC
    batch_size = 32
    same_person = 0.5
    """Cosine that 1 in 1,700 pairs of different people and 6 in 10 pairs of one person reach."""

    def build(self) -> nn.Module:
        """The network of the recipe."""
        return IdentityNet(CROP.size)

    def pre_process(self, batch: Batch) -> NDArray[np.uint8]:
        """Aligned crops (N, 64, 64, 3) uint8."""
        return batch.crops(CROP)

    def process(self, inputs: NDArray[np.uint8]) -> Tensor:
        """Unit vectors (N, 128); NaN for crops of one colour, such as those off the picture."""
        vectors = both_ways(self.model, SPEC.prepare(inputs, self.device)).cpu()
        pixels = inputs.reshape(len(inputs), CROP.size**2 * 3)
        blank = np.ptp(pixels, axis=1) < LEAST_CONTRAST
        vectors[torch.from_numpy(blank)] = torch.nan
        return vectors

    def post_process(self, batch: Batch, outputs: Tensor) -> Mapping[str, NDArray[Any]]:
        """Embeddings; NaN also for faces that are too small or cannot be cut."""
        scale = scale_of(CROP.matrices(batch.faces))
        fit = np.isfinite(scale) & (scale <= LARGEST_SCALE)
        vectors = np.where(fit[:, None], outputs.numpy(), np.nan)
        return {"embedding": vectors.astype(np.float32)}
