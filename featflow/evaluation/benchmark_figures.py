"""What is told of a node on a benchmark: each measure as the set's literature has it.

Faces that the detector misses are counted in every part. They are failures where the figure is
about finding (landmarks' failure rate, verification) and left out of means otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.datasets.benchmarks import BoxSet, FaceSet, PairSet
from featflow.detector import Detector
from featflow.evaluation.action_units import pearson
from featflow.evaluation.agreement import au_f1, au_icc, ccc
from featflow.evaluation.benchmark_faces import Floats, middle_embeddings, seen_values
from featflow.evaluation.detection import LabelledPicture, precision_recall
from featflow.evaluation.expressions import confusion_of, figures_of
from featflow.evaluation.shapes import angular_error, failure_rate, landmark_nme
from featflow.evaluation.verification import Roc, pair_similarity, verify
from featflow.fex.schema import EMOTIONS
from featflow.geometry.rotation import angle_between, angles_from_rotation, rotation_from_angles

Figures = dict[str, Any]
Rows = NDArray[np.bool_]

LANDMARK_COLUMNS = (*(f"x_{i}" for i in range(68)), *(f"y_{i}" for i in range(68)))
FAILURES = (0.08, 0.10)
LEAST_SCORE = 0.02
"""Score from which detections enter the curve of precision and recall."""
FALSE_ACCEPT = (0.01, 0.001)


def _parts(data: FaceSet) -> Iterator[tuple[str, Rows]]:
    yield "all", np.ones(len(data), bool)
    yield from ((name, rows) for name, rows in data.groups.items() if rows.any())


def _of_parts(
    data: FaceSet, seen: Floats, figures: Callable[[Rows], dict[str, float]]
) -> dict[str, dict[str, float]]:
    """Figures of each part of the protocol, with how many faces it has and how many are missed."""
    found = {}
    known = np.isfinite(seen).all(1)
    for name, rows in _parts(data):
        counts = {"faces": float(rows.sum()), "missed": float((rows & ~known).sum())}
        told = figures(rows) if (rows & known).any() else {}
        found[name] = {**counts, **_known(told)}
    return found


def unit_figures(detector: Detector, data: FaceSet) -> Figures:
    """F1, ICC(3,1), CCC and correlation of each action unit, and their means.

    The means are of the units that the node gives and the set has; ``f1_silent_as_zero`` counts
    the others of the set as 0. Occurrence has no intensity, so there ICC and CCC are left out.
    """
    codes = data.truth("au")
    seen = seen_values(detector, data, data.units)
    occurrence = data.present_from <= 1
    f1 = au_f1(codes, seen, present_from=data.present_from)
    icc = au_icc(codes, seen)
    units: Figures = {}
    for column, unit in enumerate(data.units):
        truth, told = codes[:, column], seen[:, column]
        both = np.isfinite(truth) & np.isfinite(told)
        if not both.any():
            continue
        units[unit] = {"f1": float(f1[column]), "faces": float(both.sum())}
        units[unit]["correlation"] = pearson(truth[both], told[both])
        if not occurrence:
            units[unit].update(icc=float(icc[column]), ccc=ccc(truth, told * 5.0))
    found = [unit["f1"] for unit in units.values()]
    silent = len(data.units) - len(units)
    summary = {
        "faces": float(len(data)),
        "missed": float(np.isnan(seen).all(1).sum()),
        "units": float(len(units)),
        "units_of_the_set": float(len(data.units)),
        "f1_silent_as_zero": _mean([*found, *[0.0] * silent]),
    }
    for name in ("f1", "icc", "ccc", "correlation"):
        summary[name] = _mean([unit[name] for unit in units.values() if name in unit])
    return {part: _known(told) for part, told in {"all": summary, **units}.items()}


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def _known(figures: Mapping[str, float]) -> dict[str, float]:
    """Figures that exist."""
    return {name: value for name, value in figures.items() if np.isfinite(value)}


def emotion_figures(detector: Detector, data: FaceSet) -> Figures:
    """Accuracy, balanced accuracy, macro F1, calibration, recalls and confusion."""
    truth, seen = data.truth("emotion"), seen_values(detector, data, EMOTIONS)
    return {"all": figures_of(seen, truth), "confusion": dict(confusion_of(seen, truth))}


def landmark_figures(detector: Detector, data: FaceSet) -> Figures:
    """Normalised mean error by the set's own length, and failure rates."""
    seen = seen_values(detector, data, LANDMARK_COLUMNS)
    points = np.stack([seen[:, :68], seen[:, 68:]], -1)
    errors = landmark_nme(data.truth("landmark"), points, data.normaliser)

    def figures(rows: Rows) -> dict[str, float]:
        found = errors[rows]
        return {
            "nme": float(np.nanmean(found)),
            "nme_median": float(np.nanmedian(found)),
            **{f"failures_{at:.2f}": failure_rate(found, at) for at in FAILURES},
        }

    return _of_parts(data, seen, figures)


def euler_angles(rotations: Floats) -> NDArray[np.float64]:
    """Pitch, yaw and roll (N, 3) in radians as the literature on BIWI and AFLW2000-3D has them.

    Factors of the matrix, in that order, with + roll to the subject's left: the inverse of
    :func:`featflow.datasets.benchmarks.head_pose.rotation_of_angles`.
    """
    m = np.asarray(rotations, np.float64)
    pitch = np.arctan2(m[..., 1, 2], m[..., 2, 2])
    yaw = np.arcsin(np.clip(-m[..., 0, 2], -1, 1))
    roll = np.arctan2(m[..., 0, 1], m[..., 0, 0])
    return np.stack([pitch, yaw, roll], -1)


def pose_figures(detector: Detector, data: FaceSet) -> Figures:
    """Mean errors in degrees: of the table's angles, of the literature's, and of the rotation."""
    truth = data.truth("pose")
    seen = seen_values(detector, data, ("Pitch", "Roll", "Yaw"))
    ours = rotation_from_angles(*seen.T)
    angles = np.abs(_wrapped(angles_from_rotation(truth) - seen))
    euler = np.abs(_wrapped(euler_angles(truth) - euler_angles(ours)))
    whole = angle_between(truth, ours)

    def figures(rows: Rows) -> dict[str, float]:
        names = ("pitch_mae", "roll_mae", "yaw_mae")
        factors = ("euler_pitch_mae", "euler_yaw_mae", "euler_roll_mae")
        means = np.degrees(np.nanmean(euler[rows], 0))
        return {
            **dict(zip(names, np.degrees(np.nanmean(angles[rows], 0)).tolist(), strict=True)),
            **dict(zip(factors, means.tolist(), strict=True)),
            "euler_mae": float(means.mean()),
            "rotation_error": float(np.degrees(np.nanmean(whole[rows]))),
        }

    return _of_parts(data, seen, figures)


def _wrapped(angles: Floats) -> Floats:
    return (angles + np.pi) % (2 * np.pi) - np.pi


def gaze_figures(detector: Detector, data: FaceSet) -> Figures:
    """Mean and median angle in degrees between directions, and correlations by axis."""
    truth, seen = data.truth("gaze"), seen_values(detector, data, ("gaze_pitch", "gaze_yaw"))
    away = np.degrees(angular_error(truth, seen))

    def figures(rows: Rows) -> dict[str, float]:
        known = rows & np.isfinite(seen).all(1)
        return {
            "error_deg": float(np.nanmean(away[rows])),
            "error_median_deg": float(np.nanmedian(away[rows])),
            "pitch_r": pearson(truth[known, 0], seen[known, 0]),
            "yaw_r": pearson(truth[known, 1], seen[known, 1]),
        }

    return _of_parts(data, seen, figures)


def pair_figures(detector: Detector, data: PairSet) -> Figures:
    """The ten folds of LFW; a pair with a missed face is in none, and wrong in one figure."""
    vectors = middle_embeddings(detector, data.inputs)
    scores = pair_similarity(vectors[data.one], vectors[data.other])
    known = np.isfinite(scores)
    figures = {
        "pictures": float(len(vectors)),
        "missed": float((~np.isfinite(vectors).all(1)).sum()),
        "pairs": float(len(scores)),
        "pairs_missed": float((~known).sum()),
    }
    same = data.same[known]
    if not same.any() or same.all():
        return {"all": figures}
    found = verify(scores[known], same, data.folds[known])
    curve = Roc.of(scores[known], same)
    return {
        "all": {
            **figures,
            "accuracy": found.accuracy,
            "accuracy_std": found.accuracy_std,
            "accuracy_missed_wrong": found.accuracy * float(known.mean()),
            "auc": found.auc,
            "threshold": float(found.thresholds.mean()),
            **{f"true_accept_at_{at:g}": curve.true_accept_at(at) for at in FALSE_ACCEPT},
        }
    }


def box_figures(detector: Detector, data: BoxSet) -> Figures:
    """Average precision at an overlap of 0.5 in each subset, and what is found at score 0.5."""
    found = _detections(detector, data)
    figures: Figures = {}
    for name, counts in data.subsets.items():
        curve = precision_recall(
            LabelledPicture(boxes, scores, labelled, certain)
            for (boxes, scores), labelled, certain in zip(found, data.boxes, counts, strict=True)
        )
        sure = np.flatnonzero(curve.scores >= 0.5)
        figures[name] = {"pictures": float(len(data)), "faces": float(curve.faces)}
        figures[name] |= _known({"average_precision": curve.average_precision})
        if len(sure):
            figures[name]["recall_at_0.5"] = float(curve.recall[sure[-1]])
            figures[name]["precision_at_0.5"] = float(curve.precision[sure[-1]])
    return figures


def _detections(detector: Detector, data: BoxSet) -> Sequence[tuple[Floats, Floats]]:
    from featflow.evaluation.shared_faces import detected_boxes

    fex = detector.detect(
        list(data.inputs),
        face_detection_threshold=LEAST_SCORE,
        on_error="row",
        progress_bar=False,
    )
    # Rows come in the order of the inputs.
    rows = fex.groupby("input", sort=False).indices
    found = []
    for path in data.inputs:
        own = fex.iloc[rows[str(path)]]
        own = own[own["FaceScore"] > 0].sort_values("FaceScore", ascending=False)
        found.append((detected_boxes(own), own["FaceScore"].to_numpy(float)))
    return found
