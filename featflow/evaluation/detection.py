"""Matching detections with labelled faces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.geometry.boxes import iou

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Hits:
    """How many labelled faces were found.

    Attributes:
        hits: certain faces that a detection covers.
        misses: certain faces that none covers.
        false: detections that cover no face, certain or not.
    """

    hits: int
    misses: int
    false: int


def match_detections(
    detected: Floats,
    labelled: Floats,
    certain: NDArray[np.bool_] | None = None,
    iou_threshold: float = 0.5,
) -> Hits:
    """Match each detection to the labelled face that it overlaps most, one to one.

    Args:
        detected: (D, 4) boxes, best first.
        labelled: (L, 4) boxes.
        certain: (L,) False for faces that count neither as found nor as missed, and whose
            detections are not false; all certain by default.
        iou_threshold: least overlap of a match.
    """
    certain = np.ones(len(labelled), bool) if certain is None else certain
    overlap = iou(detected, labelled)
    free = certain.copy()
    hits = false = 0
    for row in range(len(detected)):
        scores = np.where(free, overlap[row], -1.0)
        best = int(scores.argmax()) if len(labelled) else -1
        if best >= 0 and scores[best] >= iou_threshold:
            free[best] = False
            hits += 1
        elif not len(labelled) or not (overlap[row][~certain] >= min(0.3, iou_threshold)).any():
            false += 1
    return Hits(hits, int(free.sum()), false)
