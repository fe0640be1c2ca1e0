"""The ``mask/hull`` node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.errors import OptionError
from featflow.flow.batch import Batch
from featflow.flow.node import Node
from featflow.geometry.crop import CropRule
from featflow.geometry.hull_masks import PART_NAMES, Part, hull_masks


class HullMask(Node):
    """A mask of the face or a part of it, from the 68 landmarks alone; no weights.

    Provides ``mask`` (N, size, size) uint8, 255 inside, on the crop of ``crop``: turned
    upright by the five points and wide enough for the lifted brows of ``extended``, and
    ``mask_matrix`` (N, 2, 3), the map from original pixels to that crop. The mask is 0 off the
    frame, and all 0 where landmarks are unknown.

    Args:
        part: ``face`` (one hull), ``eyes``, ``mouth``, ``nose``, ``brows``, ``components``
            (eight hulls) or ``extended`` (the same with part of the forehead).
        size: side of the mask in pixels.

    Raises:
        OptionError: ``part`` is unknown or ``size`` is below 1.
    """

    kind = "mask"
    name = "hull"
    unit = "face"
    requires = ("landmarks",)
    provides = ("mask", "mask_matrix")
    batch_size = 32

    def __init__(self, part: Part = "components", size: int = 128) -> None:
        super().__init__()
        if part not in PART_NAMES:
            raise OptionError(
                f"mask/hull has no part {part!r}; known parts: {', '.join(PART_NAMES)}"
            )
        self.part: Part = part
        self.crop = CropRule(size=size, anchor="points5", expansion=1.6, shift_y=0.08)
        self.shapes = {"mask": (size, size)}

    def shape_of(self, name: str) -> tuple[int, ...] | None:
        """Shape of one face's value in a field; a mask is as large as this node draws it."""
        return (self.crop.size,) * 2 if name == "mask" else super().shape_of(name)

    def pre_process(self, batch: Batch) -> NDArray[np.uint8]:
        """Draw the masks: there is nothing for a device to do, and no picture is read."""
        return hull_masks(
            batch.faces.landmarks,
            self.crop.matrices(batch.faces),
            batch.frame_sizes_px,
            self.crop.size,
            self.part,
        )

    def process(self, inputs: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The masks, unchanged."""
        return inputs

    def post_process(self, batch: Batch, outputs: NDArray[np.uint8]) -> Mapping[str, NDArray[Any]]:
        """The masks and where they lie."""
        return {"mask": outputs, "mask_matrix": self.crop.matrices(batch.faces)}
