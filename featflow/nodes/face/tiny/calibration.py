"""Moving the scores so that 0.5 is the best place to cut."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from featflow.evaluation.detection import match_detections
from featflow.nodes.face.tiny.look import find_candidates
from featflow.nodes.face.tiny.network import FaceNet
from featflow.nodes.face.tiny.thinning import thinned
from featflow.train.scenes import Photo

FLOOR = 0.05
"""Least score that is looked at."""

THRESHOLDS = np.arange(0.10, 0.90, 0.02)


def detect_in(
    model: nn.Module, scene: Photo, threshold: float = 0.5
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Boxes (K, 4) and scores (K,) above the threshold in a scene, strongest first.

    The sides of the scene must divide by 64.
    """
    found = find_candidates(model, scene.image[None], torch.device("cpu"))
    found = found[found.scores >= threshold]
    rows = thinned(found.boxes, found.scores)
    return found.boxes[rows], found.scores[rows]


def bare(image: NDArray[np.uint8]) -> Photo:
    """A picture without a face."""
    return Photo(image, np.zeros((0, 4)), np.zeros((0, 5, 2)), np.zeros(0, bool))


def padded(photo: Photo, multiple: int = 64) -> Photo:
    """The photo with black to its right and below, so that its sides divide by ``multiple``."""
    height, width = photo.image.shape[:2]
    pads = ((0, -height % multiple), (0, -width % multiple), (0, 0))
    return replace(photo, image=np.pad(photo.image, pads))


def best_threshold(
    model: nn.Module, scenes: list[Photo], iou_threshold: float = 0.5, beta: float = 1.0
) -> float:
    """The score at which recall and precision on the scenes have the best harmonic mean.

    Args:
        model: network in evaluation mode.
        scenes: what to detect in.
        iou_threshold: overlap of a face that is found.
        beta: recall counts so many times as much as precision (van Rijsbergen 1979).
    """
    found = [(scene, *detect_in(model, scene, FLOOR)) for scene in scenes]
    quality = []
    for threshold in THRESHOLDS:
        hits = misses = false = 0
        for scene, boxes, scores in found:
            got = match_detections(
                boxes[scores >= threshold], scene.boxes, scene.certain, iou_threshold
            )
            hits, misses, false = hits + got.hits, misses + got.misses, false + got.false
        weighted = (1 + beta**2) * hits
        quality.append(weighted / max(1, weighted + beta**2 * misses + false))
    # The middle of the best plateau, so that chance does not choose its edge.
    best = np.flatnonzero(np.array(quality) >= max(quality) - 0.002)
    return float(THRESHOLDS[best].mean())


def move_scores(model: FaceNet, threshold: float) -> None:
    """Shift all score biases so that what scored ``threshold`` scores 0.5."""
    shift = -float(np.log(threshold / (1 - threshold)))
    with torch.no_grad():
        for head in model.heads:
            head.bias[0] += shift  # type: ignore[index, operator]
