"""The ``emotion/tiny`` node."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from featflow.fex.schema import EMOTIONS
from featflow.flow.batch import Batch
from featflow.flow.node import InputSpec
from featflow.geometry.crop import CropRule
from featflow.nodes._network import NetworkNode

CROP = CropRule(size=64, anchor="landmarks", expansion=1.4, shift_y=-0.02)
"""The face turned upright by brows, eyes, nose and mouth, from the forehead to the chin."""

SPEC = InputSpec(crop=CROP, channels="grey", mean=(0.5,), std=(0.25,))


class EmotionTiny(NetworkNode):
    """Probabilities of seven expressions, in the order of the table's columns; they sum to 1.

    The probabilities are calibrated to human labels of photographs, most of which are neutral or
    happy: a faint anger is called neutral, because there it mostly was.

    Args:
        balanced: read the face as if all seven were equally frequent (each probability is divided
            by the share of its class in the training data, and the sum brought back to 1). Rare
            expressions are found more often, at the price of false ones.
    """

    kind = "emotion"
    name = "tiny"
    unit = "face"
    requires = ("landmarks",)
    provides = ("emotions",)
    shapes = MappingProxyType({"emotions": (len(EMOTIONS),)})
    spec = SPEC
    batch_size = 32

    def __init__(self, balanced: bool = False) -> None:
        super().__init__()
        self.balanced = balanced

    def build(self) -> nn.Module:
        """The network of the recipe."""
        from featflow.nodes.emotion.tiny.network import EmotionNet

        return EmotionNet(CROP.size)

    def pre_process(self, batch: Batch) -> NDArray[np.uint8]:
        """Aligned crops (N, 64, 64, 3) uint8."""
        return batch.crops(CROP)

    def process(self, inputs: NDArray[np.uint8]) -> Tensor:
        """Logits (N, 7)."""
        from featflow.nodes.emotion.tiny.network import both_ways

        logits = both_ways(self.model, SPEC.prepare(inputs, self.device))
        if self.balanced:
            logits = logits - self.model.prior.log()  # type: ignore[operator]
        return logits.cpu()

    def post_process(self, batch: Batch, outputs: Tensor) -> Mapping[str, NDArray[Any]]:
        """(N, 7) probabilities; NaN where the landmarks allow no crop."""
        probabilities = outputs.double().softmax(1).numpy().astype(np.float32)
        unknown = np.isnan(CROP.matrices(batch.faces)).any((1, 2))
        probabilities[unknown] = np.nan
        return {"emotions": probabilities}
