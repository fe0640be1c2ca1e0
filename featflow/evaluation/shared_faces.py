"""Figures of the embedded nodes on the labelled faces, from the detector's own boxes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from featflow.datasets.detection import CERTAIN, empty_files, scenes
from featflow.datasets.labelled import LabelledFaces
from featflow.detector import Detector
from featflow.evaluation.detection import Hits, match_detections
from featflow.evaluation.slices import fairness_slices
from featflow.fex.table import Fex
from featflow.geometry.boxes import iou
from featflow.geometry.landmarks import interocular
from featflow.geometry.rotation import angles_from_rotation

Figures = dict[str, float]
Floats = NDArray[np.floating[Any]]


def detected_boxes(fex: Fex) -> Floats:
    """Boxes (N, 4) x0, y0, x1, y1 of the rows that hold a face, strongest first."""
    rows = fex[fex["FaceScore"] > 0].sort_values("FaceScore", ascending=False)
    x, y, w, h = (rows[c].to_numpy(float) for c in fex.faceboxes.columns[:4])
    return np.stack([x, y, x + w, y + h], 1)


def recall_and_precision(hits: Iterable[Hits]) -> Figures:
    """Pooled over pictures."""
    found = [(h.hits, h.misses, h.false) for h in hits]
    good, missed, false = (int(n) for n in np.array(found, int).reshape(-1, 3).sum(0))
    return {
        "faces": float(good + missed),
        "recall": good / max(1, good + missed),
        "precision": good / max(1, good + false),
        "false_detections": float(false),
    }


def detection_on_portraits(detector: Detector, root: Path, source: str = "ytf") -> Figures:
    """Recall and precision at IoU 0.5 on ``val`` photographs whose every face is labelled."""
    faces = LabelledFaces.open(root, "val")
    table = faces.table.filter(pl.col("source") == source)
    paths = [root / "images" / file for file in table["file"]]
    by_input = _by_input(detector.detect(paths, progress_bar=False))
    hits = []
    for path, detections in zip(paths, table["detections"].to_list(), strict=True):
        known = np.array(detections, float).reshape(-1, 5)
        found = detected_boxes(by_input[str(path)])
        hits.append(match_detections(found, known[:, :4], known[:, 4] >= CERTAIN, 0.5))
    return recall_and_precision(hits)


def labelled_faces_found(detector: Detector, root: Path) -> dict[str, Figures]:
    """Part of the ``val`` photographs whose labelled face is found (IoU 0.4), by slice."""
    faces = LabelledFaces.open(root, "val")
    paths = [root / "images" / file for file in faces.table["file"]]
    found = matched_values(detector.detect(paths, progress_bar=False), faces, ["FaceScore"])
    seen = np.isfinite(found[:, 0])
    slices = {"all": np.ones(len(faces), bool), **fairness_slices(faces)}
    return {
        name: {"faces": float(rows.sum()), "recall": float(seen[rows].mean())}
        for name, rows in slices.items()
        if rows.any()
    }


def detection_in_scenes(detector: Detector, root: Path) -> Figures:
    """Recall and precision at IoU 0.5 on ``val`` photographs of people with and without masks."""
    hits = []
    for photo in scenes(root, "val"):
        found = detected_boxes(detector.detect(photo.image, progress_bar=False))
        hits.append(match_detections(found, photo.boxes, photo.certain, 0.5))
    return recall_and_precision(hits)


def false_alarms(detector: Detector, root: Path) -> Figures:
    """Detections above 0.5 on pictures without a face, all and those never trained on."""
    files = empty_files(root)
    by_input = _by_input(detector.detect(files, progress_bar=False))
    counts = np.array([len(detected_boxes(by_input[str(file)])) for file in files])
    return {
        "pictures": float(len(files)),
        "false_detections": float(counts.sum()),
        "held_out_pictures": float(len(counts[::3])),
        "held_out_false_detections": float(counts[::3].sum()),
    }


def detection_in_groups(detector: Detector, folder: Path) -> dict[str, Any]:
    """Against RetinaFace on group photographs, IoU 0.4.

    Recall counts its faces with a score above 0.9 and at least 16 pixels on the shorter side;
    precision counts a detection as right where it meets any of its boxes.
    """
    teacher = json.loads((folder / "retinaface.json").read_text())
    each = {}
    for name, faces in teacher.items():
        known = np.array([face[:5] for face in faces], float).reshape(-1, 5)
        found = detected_boxes(detector.detect(folder / name, progress_bar=False))
        size = (known[:, 2:4] - known[:, :2]).min(1)
        overlap = iou(found, known[:, :4]).reshape(len(found), len(known))
        wanted = (known[:, 4] > 0.9) & (size >= 16)
        seen = (overlap.max(0, initial=0) >= 0.4)[wanted]
        right = overlap.max(1, initial=0) >= 0.4
        each[name] = (int(wanted.sum()), int(seen.sum()), len(found), int(right.sum()))
    wanted_all, seen_all, found_all, right_all = np.array(list(each.values())).sum(0)
    return {
        "faces": float(wanted_all),
        "recall": float(seen_all / wanted_all),
        "precision": float(right_all / found_all),
        "detections": float(found_all),
        "each": {
            k: dict(zip(("faces", "found", "detections", "right"), v, strict=True))
            for k, v in each.items()
        },
    }


def landmarks_and_pose(detector: Detector, root: Path) -> dict[str, Any]:
    """Landmark error over inter-ocular distance and pose error in degrees on ``val``.

    Starts from the detector's own boxes; a labelled face counts where a detection overlaps its
    box by at least 0.4, and is missed otherwise.
    """
    faces = LabelledFaces.open(root, "val")
    paths = [str(root / "images" / file) for file in faces.table["file"]]
    by_input = _by_input(detector.detect(paths, progress_bar=False))
    truth_angles = angles_from_rotation(faces.rotations)
    error = np.full(len(faces), np.nan)
    pose = np.full((len(faces), 3), np.nan)
    for row, path in enumerate(paths):
        match = _matching_row(by_input[path], faces.boxes[row])
        if match is None:
            continue
        points = np.stack(
            [match.landmarks_x.to_numpy(float)[0], match.landmarks_y.to_numpy(float)[0]], -1
        )
        away = np.linalg.norm(points - faces.landmarks[row], axis=-1).mean()
        error[row] = away / interocular(faces.landmarks[row])
        pose[row] = match.poses.to_numpy(float)[0, :3] - truth_angles[row]
    slices = {"all": np.ones(len(faces), bool), **fairness_slices(faces)}
    return {
        "landmark": {name: _landmark_figures(error[keep]) for name, keep in slices.items()},
        "pose": {name: _pose_figures(pose[keep]) for name, keep in slices.items()},
    }


def matched_values(fex: Fex, faces: LabelledFaces, columns: Sequence[str]) -> NDArray[np.float64]:
    """Columns (N, C) of the detection that lies on each labelled face.

    Args:
        fex: detections in the photographs of ``faces``, by their paths.
        faces: N labelled faces.
        columns: C names of numeric columns.

    Returns:
        NaN throughout for a face whose box no detection overlaps by at least 0.4.
    """
    by_input = _by_input(fex)
    values = np.full((len(faces), len(columns)), np.nan)
    for row, file in enumerate(faces.table["file"]):
        match = _matching_row(by_input[str(faces.root / "images" / file)], faces.boxes[row])
        if match is not None:
            values[row] = match[list(columns)].to_numpy(float)[0]
    return values


def _landmark_figures(error: Floats) -> Figures:
    found = error[np.isfinite(error)]
    return {
        "faces": float(len(error)),
        "missed": float(np.isnan(error).sum()),
        "nme": float(found.mean()),
        "nme_median": float(np.median(found)),
        "above_010": float((found > 0.10).mean()),
    }


def _pose_figures(error: Floats) -> Figures:
    found = np.degrees(np.abs(error[np.isfinite(error).all(1)]))
    names: Sequence[str] = ("pitch_mae", "roll_mae", "yaw_mae")
    return {"faces": float(len(found)), **dict(zip(names, found.mean(0).tolist(), strict=True))}


def _by_input(fex: Fex) -> Mapping[str, Fex]:
    return {str(name): Fex(rows) for name, rows in fex.groupby("input", sort=False)}


def _matching_row(rows: Fex, box: Floats) -> Fex | None:
    rows = rows[rows["FaceScore"] > 0]
    if not len(rows) or not np.isfinite(box).all():
        return None
    x, y, w, h = (rows[c].to_numpy(float) for c in rows.faceboxes.columns[:4])
    overlap = iou(np.stack([x, y, x + w, y + h], 1), box[None])[:, 0]
    best = int(overlap.argmax())
    return rows.iloc[best : best + 1] if overlap[best] >= 0.4 else None
