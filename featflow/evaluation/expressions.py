"""Figures of an expression node, from the detector's own boxes and landmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.datasets.expressions import FaceVotes, emotion_labels, majority
from featflow.datasets.labelled import Image, LabelledFaces
from featflow.detector import Detector
from featflow.evaluation.classes import Confusion, calibration_error
from featflow.evaluation.slices import fairness_slices
from featflow.fex.schema import EMOTIONS
from featflow.flow.batch import Batch, FaceBatch
from featflow.flow.node import Node
from featflow.geometry.boxes import iou
from featflow.runs import RunOptions

Floats = NDArray[np.floating[Any]]
Figures = dict[str, Any]

STRONG_SUPPORT = 15
"""Labels that a class needs for its recall to enter the balanced accuracy."""

_RECALLS = [f"recall_{name}" for name in EMOTIONS]

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
    for name, rows in fairness_slices(photographs).items():
        groups[f"human labels, {name}"] = rows & (labels >= 0)
    found: Figures = {
        k: figures_of(told[rows], labels[rows]) for k, rows in groups.items() if rows.any()
    }
    found["human labels, confusion"] = confusion_of(told, labels)
    if balanced:
        other = on_photographs(expression_detector(node, balanced=True), photographs)
        rows = labels >= 0
        found["human labels, balanced reading"] = figures_of(other[rows], labels[rows])
        found["human labels, balanced reading, confusion"] = confusion_of(other, labels)
    return {**found, **majority_figures(FaceVotes.open(root, "val"), node)}


def majority_figures(votes: FaceVotes, node: str) -> Figures:
    """Of FER+ pictures that most people agree on: from detected faces, and of all pictures.

    The pictures are tight crops of 48 pixels, in some of which no face is found. For the figures of
    all, those are taken to hold a face where the others have theirs, in the median.
    """
    images, winners = votes.read_all(), majority(votes.votes)
    told, boxes = on_pictures(expression_detector(node), images)
    clear = winners >= 0
    found: Figures = {"FER+ majority": figures_of(told[clear], winners[clear])}
    missed = np.flatnonzero(np.isnan(told).any(1))
    if 0 < len(missed) < len(images):
        there = GivenBox(np.nanmedian(boxes, 0))
        again = expression_detector(node, face=there)
        told[missed] = on_pictures(again, [images[row] for row in missed])[0]
    found["FER+ majority, all pictures"] = figures_of(told[clear], winners[clear])
    found["FER+ majority, all pictures, confusion"] = confusion_of(told, winners)
    return found


class GivenBox(Node):
    """In place of a detector: one face in each frame, always in the same box."""

    kind, name, unit = "face", "given", "frame"
    provides = ("box", "score", "points5")

    def __init__(self, box: Floats) -> None:
        super().__init__()
        self.box = np.asarray(box, np.float32)

    def pre_process(self, batch: Batch) -> None:
        """Nothing is looked at."""

    def process(self, inputs: None) -> None:
        """Nothing is computed."""

    def post_process(self, batch: Batch, outputs: None) -> FaceBatch:
        """The box, with score 1 and no points, in every frame."""
        count = len(batch.frames)
        fields = {
            "box": np.tile(self.box, (count, 1)),
            "score": np.ones(count, np.float32),
            "points5": np.full((count, 5, 2), np.nan, np.float32),
        }
        return FaceBatch(batch.frames.uids.copy(), fields)


def expression_detector(node: str, face: str | Node = "tiny", **options: Any) -> Detector:
    """A detector that does what expressions need and no more; ``options`` are the node's."""
    given = {"emotion": options} if options else None
    return Detector.only(face=face, landmark="tiny", emotion=node, options=given, device="cpu")


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


def on_pictures(
    detector: Detector, images: list[Image]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Probabilities (N, 7) and box (N, 4) of the strongest face in each picture, or NaN."""
    told = np.full((len(images), len(EMOTIONS)), np.nan)
    boxes, best = np.full((len(images), 4), np.nan), np.zeros(len(images))
    for batch in detector.run(images, RunOptions()).batches():
        faces, emotions = batch.faces, _emotions(batch)
        for face, row in enumerate(faces.frame_uid):
            if faces.score[face] > best[row]:
                best[row], told[row], boxes[row] = (
                    faces.score[face],
                    emotions[face],
                    faces.box[face],
                )
    return told, boxes


def _emotions(batch: Batch) -> Floats:
    return batch.faces.fields["emotions"]


def figures_of(told: Floats, truth: NDArray[np.int64]) -> dict[str, float]:
    """Figures of probabilities (N, 7) against true classes (N,); NaN rows were missed.

    A missed face is counted in ``missed`` and in ``accuracy_missed_wrong``; the others are of the
    faces that were found. Figures that do not exist, as the recall of a class that does not occur,
    are left out.
    """
    seen = np.isfinite(told).all(1)
    if not seen.any():
        return {"faces": float(len(told)), "missed": float(len(told))}
    confusion = Confusion.of(truth[seen], told[seen].argmax(1), range(len(EMOTIONS)))
    found = {
        "faces": float(len(told)),
        "missed": float((~seen).sum()),
        "accuracy": confusion.accuracy,
        "accuracy_missed_wrong": confusion.accuracy * float(seen.mean()),
        "balanced_accuracy": confusion.balanced_accuracy(STRONG_SUPPORT),
        "balanced_accuracy_of_all": confusion.balanced_accuracy(),
        "macro_f1": confusion.macro_f1,
        "calibration_error": calibration_error(told[seen], truth[seen]),
        **dict(zip(_RECALLS, confusion.recall.tolist(), strict=True)),
    }
    return {name: value for name, value in found.items() if np.isfinite(value)}


def confusion_of(told: Floats, truth: NDArray[np.int64]) -> Mapping[str, Sequence[int]]:
    """Counts of what each true class (N,) was called, in the order of the table's columns."""
    seen = np.isfinite(told).all(1) & (truth >= 0)
    counts = Confusion.of(truth[seen], told[seen].argmax(1), range(len(EMOTIONS))).counts
    return dict(zip(EMOTIONS, counts.tolist(), strict=True))
