"""From many boxes on each face to one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from featflow.geometry.boxes import drop_nested, nms

NESTED = 0.7
"""Of two boxes, one with more than this part of the other inside, the weaker is dropped."""


def thinned(
    boxes: NDArray[np.float64], scores: NDArray[np.float64], nms_iou: float = 0.4
) -> NDArray[np.int64]:
    """Indices of the boxes that stand for one face each, strongest first."""
    apart = nms(boxes, scores, nms_iou)
    return apart[drop_nested(boxes[apart], scores[apart], NESTED)]
