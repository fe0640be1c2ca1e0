"""Matching detections with labelled faces, and average precision."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.errors import OptionError
from featflow.geometry.boxes import iou

Floats = NDArray[np.floating[Any]]

HIT, NEUTRAL, FALSE = 1, 0, -1
"""Outcome of a detection: covers a certain face; covers one that does not count; neither."""


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


def detection_outcomes(
    detected: Floats,
    labelled: Floats,
    certain: NDArray[np.bool_] | None = None,
    iou_threshold: float = 0.5,
) -> NDArray[np.int64]:
    """Match each detection to the labelled face that it overlaps most, one to one.

    Args:
        detected: (D, 4) boxes, best first.
        labelled: (L, 4) boxes.
        certain: (L,) False for faces that count neither as found nor as missed, and whose
            detections are not false; all certain by default.
        iou_threshold: least overlap of a match.

    Returns:
        (D,) :data:`HIT`, :data:`NEUTRAL` or :data:`FALSE`.
    """
    certain = np.ones(len(labelled), bool) if certain is None else certain
    overlap = iou(detected, labelled)
    free = certain.copy()
    outcomes = np.full(len(detected), FALSE, np.int64)
    for row in range(len(detected)):
        scores = np.where(free, overlap[row], -1.0)
        best = int(scores.argmax()) if len(labelled) else -1
        if best >= 0 and scores[best] >= iou_threshold:
            free[best] = False
            outcomes[row] = HIT
        elif len(labelled) and (overlap[row][~certain] >= min(0.3, iou_threshold)).any():
            outcomes[row] = NEUTRAL
    return outcomes


def match_detections(
    detected: Floats,
    labelled: Floats,
    certain: NDArray[np.bool_] | None = None,
    iou_threshold: float = 0.5,
) -> Hits:
    """Count the outcomes of :func:`detection_outcomes`, which has the arguments."""
    outcomes = detection_outcomes(detected, labelled, certain, iou_threshold)
    hits = int((outcomes == HIT).sum())
    faces = len(labelled) if certain is None else int(certain.sum())
    return Hits(hits, faces - hits, int((outcomes == FALSE).sum()))


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    """Detections and labels of one picture.

    Attributes:
        detected: (D, 4) boxes in any order.
        scores: (D,) their scores.
        labelled: (L, 4) boxes.
        certain: (L,) False for faces that do not count; all count if None.
    """

    detected: Floats
    scores: Floats
    labelled: Floats
    certain: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class PrecisionRecall:
    """What is found at each score, from the highest to the lowest.

    Attributes:
        scores: scores that occur, falling.
        precision: part of the detections with at least that score that are right.
        recall: part of the faces that they find.
        faces: faces that count.
    """

    scores: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    faces: int

    @property
    def average_precision(self) -> float:
        """Area under the curve, where precision is the best at that recall or a higher one.

        The rule of PASCAL VOC since 2010, which WIDER FACE uses. NaN where no face counts.
        """
        if not self.faces:
            return float("nan")
        best = np.maximum.accumulate(self.precision[::-1])[::-1]
        return float((np.diff(np.r_[0.0, self.recall]) * best).sum())


def precision_recall(
    pictures: Iterable[LabelledPicture], iou_threshold: float = 0.5
) -> PrecisionRecall:
    """Pool the detections of all pictures, as WIDER FACE does (Yang et al. 2016).

    Faces that do not count (``certain`` False, as for the subset "hard" in "easy") make their
    detections neither right nor false. Unlike in the official code a width is ``x1 - x0``
    without "plus one", a second detection goes to the next face that it overlaps enough, and the
    curve has a point for each score and not 1,000 in all.

    Raises:
        OptionError: a picture has unlike numbers of boxes and scores, or a missing score.
    """
    scores, outcomes, faces = [np.zeros(0)], [np.zeros(0, np.int64)], 0
    for picture in pictures:
        given = np.asarray(picture.scores, np.float64)
        if given.shape != (len(picture.detected),) or not np.isfinite(given).all():
            raise OptionError(
                f"{len(picture.detected)} detections need as many finite scores, got {given.shape}"
            )
        order = np.argsort(-given, kind="stable")
        boxes = np.asarray(picture.detected, np.float64).reshape(-1, 4)[order]
        labelled = np.asarray(picture.labelled, np.float64).reshape(-1, 4)
        outcomes.append(detection_outcomes(boxes, labelled, picture.certain, iou_threshold))
        scores.append(given[order])
        faces += len(labelled) if picture.certain is None else int(picture.certain.sum())
    return _curve(np.concatenate(scores), np.concatenate(outcomes), faces)


def _curve(scores: Floats, outcomes: NDArray[np.int64], faces: int) -> PrecisionRecall:
    counted = outcomes != NEUTRAL
    order = np.argsort(-scores[counted], kind="stable")
    values, right = scores[counted][order], outcomes[counted][order] == HIT
    # Equal scores are one point, so that the order of the pictures makes no difference.
    ends = np.flatnonzero(np.r_[np.diff(values) != 0, np.ones(min(1, len(values)), bool)])
    hits = np.cumsum(right)[ends]
    return PrecisionRecall(values[ends], hits / (ends + 1), hits / max(1, faces), faces)
