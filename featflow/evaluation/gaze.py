"""Figures of gaze on ``val``, from the detector's own boxes and landmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.datasets.labelled import LabelledFaces
from featflow.detector import Detector
from featflow.evaluation.shapes import angular_error
from featflow.evaluation.shared_faces import Figures, matched_values
from featflow.evaluation.slices import fairness_slices
from featflow.geometry.rotation import angles_from_rotation

Floats = NDArray[np.floating[Any]]

_COLUMNS = ("gaze_pitch", "gaze_yaw", "Pitch", "Yaw")


def gaze_on_faces(detector: Detector, root: Path) -> dict[str, Figures]:
    """Agreement with the teachers: all faces, those whose teachers are sure, and by slice of these.

    Args:
        detector: with a gaze and a pose node.
        root: folder of the labelled faces.
    """
    faces = LabelledFaces.open(root, "val")
    paths = [root / "images" / file for file in faces.table["file"]]
    fex = detector.detect(paths, progress_bar=False)
    columns = (*_COLUMNS, *(["GazeScore"] if "GazeScore" in fex.columns else []))
    seen = matched_values(fex, faces, columns)
    head = angles_from_rotation(faces.rotations)[:, [0, 2]]
    truth = np.concatenate([faces.gaze, head], 1)
    confidence = faces.gaze_confidence
    sure = confidence > np.median(confidence)
    slices = {
        "gaze_conf above the median": sure,
        "all": np.ones(len(faces), bool),
        **{f"sure, {name}": rows & sure for name, rows in fairness_slices(faces).items()},
    }
    found = {name: gaze_figures(truth[rows], seen[rows]) for name, rows in slices.items()}
    if "GazeScore" in fex.columns:
        found["GazeScore"] = score_figures(truth, seen[:, :4], seen[:, 4])
    return found


def gaze_figures(truth: Floats, seen: Floats) -> Figures:
    """Mean angle between directions, and correlations by axis and for the eyes in the head.

    Args:
        truth, seen: (N, 4) pitch and yaw of the gaze, pitch and yaw of the head, radians. Each
            side's eyes in the head are its own gaze less its own head.

    Returns:
        Degrees, and Pearson correlations, over the faces that have a direction.
    """
    known = np.isfinite(seen).all(1)
    a, b = truth[known], seen[known]
    figures = {"faces": float(len(truth)), "missed": float((~known).sum())}
    if len(a) < 2:
        return figures
    degrees = np.degrees(angular_error(a[:, :2], b[:, :2]))
    pairs = {
        "pitch_r": (a[:, 0], b[:, 0]),
        "yaw_r": (a[:, 1], b[:, 1]),
        "pitch_in_head_r": (a[:, 0] - a[:, 2], b[:, 0] - b[:, 2]),
        "yaw_in_head_r": (a[:, 1] - a[:, 3], b[:, 1] - b[:, 3]),
    }
    return {
        **figures,
        "error_deg": float(degrees.mean()),
        "error_median_deg": float(np.median(degrees)),
        **{name: float(np.corrcoef(*p)[0, 1]) for name, p in pairs.items() if _vary(*p)},
    }


def _vary(*sides: Floats) -> bool:
    """Whether a correlation exists."""
    return all(float(np.ptp(side)) > 0 for side in sides)


def score_figures(truth: Floats, seen: Floats, score: Floats) -> Figures:
    """Whether the confidence tells good directions from bad: error of its lower and upper half."""
    known = np.isfinite(seen[:, :2]).all(1)
    degrees = np.degrees(angular_error(truth[known, :2], seen[known, :2]))
    upper = score[known] > np.median(score[known])
    return {
        "error_deg_upper_half": float(degrees[upper].mean()),
        "error_deg_lower_half": float(degrees[~upper].mean()),
        "mean_score": float(score[known].mean()),
        "within_8_deg": float((degrees <= 8.0).mean()),
    }
