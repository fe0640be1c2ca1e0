"""The ``mask/tiny`` node."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from featflow.flow.batch import Batch
from featflow.flow.node import InputSpec
from featflow.geometry.crop import CropRule
from featflow.geometry.hull_masks import on_frame
from featflow.nodes._network import NetworkNode

Floats = NDArray[np.floating[Any]]

CROP = CropRule.centred(96, "face")
"""The face turned upright by its landmarks, with room for the hair around it."""

SPEC = InputSpec(crop=CROP, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


class MaskTiny(NetworkNode):
    """A mask of the visible face, hair left out, from the picture.

    Provides ``mask`` (N, 96, 96) uint8, the probability times 255 that a pixel shows the face
    (128 and more is inside), on the crop that ``mask_matrix`` (N, 2, 3) carries original pixels
    to. It is 0 off the frame, and all 0 where landmarks are unknown.
    """

    kind = "mask"
    name = "tiny"
    unit = "face"
    requires = ("landmarks",)
    provides = ("mask", "mask_matrix")
    shapes = MappingProxyType({"mask": (CROP.size, CROP.size)})
    spec = SPEC
    crop = CROP
    batch_size = 16

    def build(self) -> nn.Module:
        """The network of the recipe."""
        from featflow.nodes.mask.tiny.network import MaskNet

        return MaskNet()

    def pre_process(self, batch: Batch) -> NDArray[np.uint8]:
        """Aligned crops (N, 96, 96, 3) uint8."""
        return batch.crops(CROP)

    def process(self, inputs: NDArray[np.uint8]) -> Tensor:
        """Probabilities (N, 96, 96)."""
        return self.model(SPEC.prepare(inputs, self.device)).sigmoid().cpu()  # type: ignore[no-any-return]

    def post_process(self, batch: Batch, outputs: Tensor) -> Mapping[str, NDArray[Any]]:
        """Masks as bytes, 0 off the frame, and where they lie."""
        matrices = CROP.matrices(batch.faces)
        masks = np.rint(outputs.numpy() * 255.0).astype(np.uint8)
        return {
            "mask": only_on_frame(masks, matrices, batch.frame_sizes_px),
            "mask_matrix": matrices,
        }


def only_on_frame(
    masks: NDArray[np.uint8], matrices: Floats, frame_sizes_px: NDArray[np.integer[Any]]
) -> NDArray[np.uint8]:
    """Masks (N, S, S) with exactly 0 where a pixel's centre lies off the frame."""
    inside = [
        on_frame(matrix, size, masks.shape[-1])
        for matrix, size in zip(matrices, frame_sizes_px, strict=True)
    ]
    return masks * np.array(inside, np.uint8).reshape(masks.shape)
