"""Checking a detector on composed scenes, where every face is known by construction."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from featflow.datasets import detection
from featflow.detector import Detector
from featflow.evaluation.detection import match_detections
from featflow.evaluation.shared_faces import Figures, detected_boxes, recall_and_precision
from featflow.train.scenes import SceneComposer

SCENES = 150
SEED = 2026


def val_composer(root: Path) -> SceneComposer:
    """Unseen people on backgrounds that training never saw."""
    return SceneComposer(
        context=detection.head_and_shoulders(root, "val") + detection.scenes(root, "val"),
        portraits=detection.portraits(root, "val"),
        empty=detection.empty_pictures(root, held_out=True),
    )


def detection_in_composed_scenes(detector: Detector, root: Path) -> Figures:
    """Recall and precision at IoU 0.5 on scenes of 1 to 30 faces of 16 to 200 pixels."""
    rng = np.random.default_rng(SEED)
    composer = val_composer(root)
    hits = []
    for _ in range(SCENES):
        scene = composer.pasted(rng, 720, 960, sizes=(16.0, 200.0), most=30).photo()
        found = detected_boxes(detector.detect(scene.image, progress_bar=False))
        hits.append(match_detections(found, scene.boxes, scene.certain, 0.5))
    return recall_and_precision(hits)
