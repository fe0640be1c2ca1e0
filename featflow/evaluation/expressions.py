"""Figures of an expression node, from the detector's own boxes and landmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.datasets.expressions import FaceVotes, emotion_labels, majority
from featflow.datasets.labelled import LabelledFaces
from featflow.detector import Detector
from featflow.evaluation.classes import Confusion, calibration_error
from featflow.evaluation.slices import slices_of
from featflow.fex.schema import EMOTIONS
from featflow.flow.batch import Batch
from featflow.geometry.boxes import iou
from featflow.runs import RunOptions

Floats = NDArray[np.floating[Any]]
Figures = dict[str, Any]

STRONG_SUPPORT = 15
"""Labels that a class needs for its recall to enter the balanced accuracy."""

LEAST_OVERLAP = 0.4
"""Intersection over union from which a detection is the labelled face."""


def expression_figures(root: Path, node: str = "tiny", balanced: bool = True) -> Figures:
    """Everything that the card of an expression node tells.

    Args:
        root: folder with ``labels.parquet``, ``images/`` and ``ferplus.parquet``.
        node: name of the node.
        balanced: measure its option ``balanced`` too, on the photographs.
    """
    photographs = LabelledFaces.open(root, "val")
    labels = emotion_labels(photographs.table)
    told = on_photographs(expression_detector(node), photographs)
    groups = {"human labels": labels >= 0}
    for name, rows in slices_of(photographs).items():
        groups[f"human labels, {name}"] = rows & (labels >= 0)
    found = {k: figures_of(told[rows], labels[rows]) for k, rows in groups.items() if rows.any()}
    found["human labels, confusion"] = confusion_of(told, labels)
    if balanced:
        other = on_photographs(expression_detector(node, balanced=True), photographs)
        rows = labels >= 0
        found["human labels, balanced reading"] = figures_of(other[rows], labels[rows])
        found["human labels, balanced reading, confusion"] = confusion_of(other, labels)
    votes = FaceVotes.open(root, "val")
    winners, told = majority(votes.votes), on_pictures(expression_detector(node), votes)
    found["FER+ majority"] = figures_of(told[winners >= 0], winners[winners >= 0])
    found["FER+ majority, confusion"] = confusion_of(told, winners)
    return found


def expression_detector(node: str, **options: Any) -> Detector:
    """A detector that does what expressions need and no more."""
    given = {"emotion": options} if options else None
    return Detector(
        pose=None, au=None, identity=None, gaze=None, emotion=node, options=given, device="cpu"
    )


def on_photographs(detector: Detector, faces: LabelledFaces) -> NDArray[np.float64]:
    """Probabilities (N, 7) of the detection that overlaps each labelled box best, or NaN."""
    paths = [faces.root / "images" / name for name in faces.table["file"]]
    told = np.full((len(faces), len(EMOTIONS)), np.nan)
    overlap = np.full(len(faces), LEAST_OVERLAP)
    for batch in detector.run(paths, RunOptions()).batches():
        rows = batch.faces.frame_uid
        for row, box, found in zip(rows, batch.faces.box, _emotions(batch), strict=True):
            share = iou(box[None], faces.boxes[row][None])[0, 0]
            if share >= overlap[row]:
                overlap[row], told[row] = share, found
    return told


def on_pictures(detector: Detector, votes: FaceVotes) -> NDArray[np.float64]:
    """Probabilities (N, 7) of the strongest face in each picture; NaN where none is found."""
    told = np.full((len(votes), len(EMOTIONS)), np.nan)
    best = np.zeros(len(votes))
    for batch in detector.run(votes.read_all(), RunOptions()).batches():
        rows = batch.faces.frame_uid
        for row, score, found in zip(rows, batch.faces.score, _emotions(batch), strict=True):
            if score > best[row]:
                best[row], told[row] = score, found
    return told


def _emotions(batch: Batch) -> Floats:
    return batch.faces.fields["emotions"]


def figures_of(told: Floats, truth: NDArray[np.int64]) -> dict[str, float]:
    """Figures of probabilities (N, 7) against true classes (N,); NaN rows were missed.

    A missed face is counted in ``missed`` and in ``accuracy_missed_wrong``; the others are of the
    faces that were found.
    """
    seen = np.isfinite(told).all(1)
    if not seen.any():
        return {"faces": float(len(told)), "missed": float(len(told))}
    confusion = Confusion.of(truth[seen], told[seen].argmax(1), range(len(EMOTIONS)))
    recalls = zip(EMOTIONS, confusion.recall.tolist(), confusion.support.tolist(), strict=True)
    return {
        "faces": float(len(told)),
        "missed": float((~seen).sum()),
        "accuracy": confusion.accuracy,
        "accuracy_missed_wrong": confusion.accuracy * float(seen.mean()),
        "balanced_accuracy": confusion.balanced_accuracy(STRONG_SUPPORT),
        "balanced_accuracy_of_all": confusion.balanced_accuracy(),
        "macro_f1": confusion.macro_f1,
        "calibration_error": calibration_error(told[seen], truth[seen]),
        **{f"recall_{name}": value for name, value, faces in recalls if faces},
    }


def confusion_of(told: Floats, truth: NDArray[np.int64]) -> Mapping[str, Sequence[int]]:
    """Counts of what each true class (N,) was called, in the order of the table's columns."""
    seen = np.isfinite(told).all(1) & (truth >= 0)
    counts = Confusion.of(truth[seen], told[seen].argmax(1), range(len(EMOTIONS))).counts
    return dict(zip(EMOTIONS, counts.tolist(), strict=True))
