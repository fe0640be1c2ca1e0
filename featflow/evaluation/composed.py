"""Checking a detector on composed scenes, where every face is known by construction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.datasets import detection
from featflow.detector import Detector
from featflow.evaluation.detection import match_detections
from featflow.evaluation.shared_faces import Figures, detected_boxes, recall_and_precision
from featflow.train.scenes import Photo, SceneComposer

Boxes = NDArray[np.floating[Any]]

SCENES = 150
SEED = 2026

CUTS = tuple(np.arange(30, 70) / 100)
"""Scores at which the curve of recall and precision is measured."""


def val_composer(root: Path) -> SceneComposer:
    """Unseen people on backgrounds that training never saw."""
    return SceneComposer(
        context=detection.head_and_shoulders(root, "val") + detection.scenes(root, "val"),
        portraits=detection.portraits(root, "val"),
        empty=detection.empty_pictures(root, held_out=True),
    )


def detection_in_composed_scenes(detector: Detector, root: Path) -> Figures:
    """Recall and precision at IoU 0.5 on scenes of 1 to 30 faces of 16 to 200 pixels.

    At a score of 0.5, and the best recall at which precision is still 0.95.
    """
    rng = np.random.default_rng(SEED)
    composer = val_composer(root)
    looked_at = []
    for _ in range(SCENES):
        scene = composer.pasted(rng, 720, 960, sizes=(16.0, 200.0), most=30).photo()
        fex = detector.detect(scene.image, face_detection_threshold=min(CUTS), progress_bar=False)
        fex = fex[fex["FaceScore"] > 0].sort_values("FaceScore", ascending=False)
        looked_at.append((scene, detected_boxes(fex), fex["FaceScore"].to_numpy(float)))
    curve = {cut: _at(cut, looked_at) for cut in (*CUTS, 0.5)}
    precise = [f["recall"] for f in curve.values() if f["precision"] >= 0.95]
    return {**curve[0.5], "recall_at_precision_0.95": max(precise, default=0.0)}


def _at(cut: float, looked_at: Sequence[tuple[Photo, Boxes, Boxes]]) -> Figures:
    return recall_and_precision(
        [
            match_detections(boxes[scores >= cut], scene.boxes, scene.certain, 0.5)
            for scene, boxes, scores in looked_at
        ]
    )
