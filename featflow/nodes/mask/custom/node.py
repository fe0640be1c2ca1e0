"""The ``mask/custom`` node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.flow.batch import Batch
from featflow.flow.node import Node
from featflow.geometry.centring import Centring
from featflow.geometry.crop import CropRule
from featflow.geometry.hull_masks import on_frame


class CustomMask(Node):
    """A mask of one value, as the start of one that is painted by hand; no weights.

    Provides ``mask`` (N, size, size) uint8 on the crop of ``crop``, all 255 or all 0, and
    ``mask_matrix`` (N, 2, 3), the map from original pixels to that crop. The mask is 0 off the
    frame, and all 0 where landmarks are unknown.

    Args:
        fill: 255 inside the frame; otherwise 0.
        size: side of the mask in pixels.
        centring: ``legacy``, ``face`` or ``head``.

    Raises:
        OptionError: ``size`` is below 1 or ``centring`` is unknown.
    """

    kind = "mask"
    name = "custom"
    unit = "face"
    requires = ("landmarks",)
    provides = ("mask", "mask_matrix")
    batch_size = 32

    def __init__(self, fill: bool = False, size: int = 128, centring: Centring = "face") -> None:
        super().__init__()
        self.fill = fill
        self.crop = CropRule.centred(size, centring)
        self.shapes = {"mask": (size, size), "mask_matrix": (2, 3)}

    def pre_process(self, batch: Batch) -> NDArray[np.uint8]:
        """Fill the masks: there is nothing for a device to do, and no picture is read."""
        size = self.crop.size
        masks = np.zeros((len(batch.faces), size, size), np.uint8)
        if self.fill:
            matrices = self.crop.matrices(batch.faces)
            for mask, matrix, frame in zip(masks, matrices, batch.frame_sizes_px, strict=True):
                if np.isfinite(matrix).all():
                    mask[on_frame(matrix, frame, size)] = 255
        return masks

    def process(self, inputs: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The masks, unchanged."""
        return inputs

    def post_process(self, batch: Batch, outputs: NDArray[np.uint8]) -> Mapping[str, NDArray[Any]]:
        """The masks and where they lie."""
        return {"mask": outputs, "mask_matrix": self.crop.matrices(batch.faces)}
