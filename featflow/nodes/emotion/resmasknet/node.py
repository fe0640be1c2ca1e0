"""The ``emotion/resmasknet`` node."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from featflow.fex.schema import EMOTIONS
from featflow.flow.batch import Batch
from featflow.nodes._published import CropNode


class ResMaskNetEmotion(CropNode):
    """Probabilities of seven expressions, in the order of the table's columns."""

    kind, name = "emotion", "resmasknet"
    requires = ("box",)
    provides = ("emotions",)
    shapes = MappingProxyType({"emotions": (len(EMOTIONS),)})
    layout = "resmasknet"
    batch_size = 8

    def post_process(self, batch: Batch, outputs: Any) -> Mapping[str, NDArray[Any]]:
        """(N, 7) probabilities that sum to 1."""
        probabilities = softmax(outputs.numpy().astype(np.float64), 1)
        return {"emotions": probabilities.astype(np.float32)}
