"""Figures of face masks on ``val``, from the detector's own boxes and landmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from featflow.datasets.labelled import Image, LabelledFaces
from featflow.detector import Detector
from featflow.evaluation.shapes import mask_iou
from featflow.evaluation.shared_faces import Figures
from featflow.evaluation.slices import fairness_slices
from featflow.fex.table import Fex
from featflow.geometry.boxes import iou
from featflow.geometry.hull_masks import fill_hulls
from featflow.geometry.landmarks import PARTS
from featflow.geometry.similarity import apply
from featflow.geometry.warp import warp
from featflow.nodes.mask.tiny.data import LABEL_SIZE, MaskedFaces

Floats = NDArray[np.floating[Any]]
Rows = NDArray[np.bool_]

_INNER = [*PARTS["nose"], *PARTS["right_eye"], *PARTS["left_eye"], *PARTS["mouth"]]
_CHEEKS = ((1, 3, 31, 40), (15, 13, 35, 47))
"""Points around the subject's right and left cheek."""


def masks_on_faces(detector: Detector, root: Path) -> dict[str, Figures]:
    """Overlap with the labels of ``ytf``, by slice and skin tone; skin that is missed everywhere.

    The masks are those that the table brings back to the frame, thresholded at 128.

    Args:
        detector: with a mask node.
        root: folder of the labelled faces.
    """
    labelled = MaskedFaces.open(root, "val")
    faces = labelled.faces
    paths = [str(root / "images" / file) for file in faces.table["file"]]
    fex = detector.detect(paths, progress_bar=False)
    places = fex.groupby("input", sort=False).indices
    found = np.full((len(faces), 4), np.nan)
    for row, path in enumerate(paths):
        found[row, :2] = cheek_colour(faces.read(row), faces.landmarks[row])
        at = _best(fex, np.asarray(places[path]), faces.boxes[row])
        if at is not None:
            mask = warp(fex.face_mask(at), labelled.frames[row], (LABEL_SIZE, LABEL_SIZE)) >= 128
            found[row, 2:] = _overlap(mask, labelled, row), _covered(mask, labelled, row)
    return _figures(faces, found)


def _best(fex: Fex, rows: NDArray[np.integer[Any]], box: Floats) -> int | None:
    """Row of the detection that overlaps a labelled box by at least 0.4 and most."""
    x, y, w, h = (fex[name].to_numpy(float)[rows] for name in fex.faceboxes.columns[:4])
    shared = np.nan_to_num(iou(np.stack([x, y, x + w, y + h], 1), box[None])[:, 0])
    best = int(shared.argmax())
    return int(rows[best]) if shared[best] >= 0.4 else None


def _overlap(mask: Rows, labelled: MaskedFaces, row: int) -> float:
    """With the label, NaN where there is none."""
    label = labelled.masks.get(row)
    return float("nan") if label is None else float(mask_iou(label[None] > 0, mask[None])[0])


def _covered(mask: Rows, labelled: MaskedFaces, row: int) -> float:
    """Part of the face between eyes and mouth, which is face in any light, that a mask has."""
    points = apply(labelled.frames[row], labelled.faces.landmarks[row, _INNER])
    inner = fill_hulls([points], LABEL_SIZE) > 127
    return float(mask[inner].mean()) if inner.any() else float("nan")


def _figures(faces: LabelledFaces, found: Floats) -> dict[str, Figures]:
    lightness, tone, overlap, covered = found.T
    ytf = (faces.table["source"] == "ytf").to_numpy()
    figures = {"ytf": _overlap_figures(overlap[ytf])}
    for name, rows in {**_thirds("skin", tone, ytf), **fairness_slices(faces)}.items():
        if (rows & ytf).any() and (ytf & ~rows).any():
            figures[f"ytf, {name}"] = _overlap_figures(overlap[rows & ytf])
    every = np.ones(len(faces), bool)
    slices = {"all": every, "mux": ~ytf, **_thirds("cheeks", lightness, every)}
    for name, rows in slices.items():
        figures[f"between eyes and mouth, {name}"] = _covered_figures(covered[rows])
    return figures


def _overlap_figures(overlap: Floats) -> Figures:
    known = overlap[np.isfinite(overlap)]
    figures = {"faces": float(len(overlap)), "missed": float(len(overlap) - len(known))}
    if len(known):
        figures.update(iou=float(known.mean()), iou_median=float(np.median(known)))
    return figures


def _covered_figures(covered: Floats) -> Figures:
    known = covered[np.isfinite(covered)]
    figures = {"faces": float(len(covered)), "missed": float(len(covered) - len(known))}
    if len(known):
        figures.update(covered=float(known.mean()), under_09=float((known < 0.9).mean()))
    return figures


def cheek_colour(image: Image, landmarks: Floats) -> tuple[float, float]:
    """Lightness (CIE L*, 0..100) and individual typology angle (degrees) of the cheeks.

    The angle is that of lightness above 50 and yellowness (Chardon et al. 1991): above 41 light,
    below 10 dark; without meaning on grey pictures. Medians over both cheeks; NaN where they are
    off the picture. Light and camera move both as much as skin does, so they only sort large
    groups.
    """
    mask = np.zeros(image.shape[:2], np.uint8)
    for cheek in _CHEEKS:
        corners = cv2.convexHull(np.round(landmarks[list(cheek)]).astype(np.int32))
        cv2.fillConvexPoly(mask, corners, 1)
    if not mask.any():
        return float("nan"), float("nan")
    lab = cv2.cvtColor(image[mask > 0][None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    light, yellow = float(np.median(lab[:, 0])), float(np.median(lab[:, 2]))
    return light, float(np.degrees(np.arctan2(light - 50.0, max(yellow, 1e-6))))


def _thirds(what: str, values: Floats, among: Rows) -> dict[str, Rows]:
    """Thirds of some faces by a value that rises with lightness."""
    low, high = np.nanpercentile(values[among], [100 / 3, 200 / 3])
    return {
        f"darkest third by {what}": values <= low,
        f"middle third by {what}": (values > low) & (values <= high),
        f"lightest third by {what}": values > high,
    }
