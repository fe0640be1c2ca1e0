"""Figures of the action units on ``val``, from the detector's own boxes and landmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.datasets.labelled import LabelledFaces
from featflow.detector import Detector
from featflow.evaluation.agreement import ccc
from featflow.evaluation.shared_faces import Figures, matched_values
from featflow.evaluation.slices import fairness_slices
from featflow.evaluation.verification import Roc
from featflow.nodes.au.tiny.units import SILENT, UNITS, teacher_units

Floats = NDArray[np.floating[Any]]

GOOD = 0.5
"""Correlation from which a unit counts as told."""

CLOSED, OPEN = 0.02, 0.98
"""Probability of open eyes, by a network that the node never saw, below and above which the
eyes count as closed and as open."""


def action_units(detector: Detector, root: Path) -> dict[str, Figures]:
    """Agreement with the teacher by unit and by slice, smiles by emotion, closed eyes.

    Args:
        detector: with an action unit node.
        root: folder of the labelled faces.
    """
    faces = LabelledFaces.open(root, "val")
    paths = [root / "images" / file for file in faces.table["file"]]
    seen = matched_values(detector.detect(paths, progress_bar=False), faces, UNITS)
    truth = teacher_units(faces)
    figures = {"all": summary(truth, seen), **by_unit(truth, seen)}
    figures["AU12 by human label"] = smiles(seen, faces.table["emotion"].to_numpy())
    figures["AU43 closed or open eyes"] = closed_eyes(
        seen, truth, faces.table["eye_open"].to_numpy()
    )
    for name, rows in fairness_slices(faces).items():
        figures[name] = summary(truth[rows], seen[rows])
    return figures


def by_unit(truth: Floats, seen: Floats) -> dict[str, Figures]:
    """Correlation and concordance of each unit that is given and has a teacher."""
    figures = {}
    for index, unit in enumerate(UNITS):
        a, b = _known(truth[:, index], seen[:, index])
        if unit not in SILENT and len(a) > 1:
            figures[unit] = {"correlation": pearson(a, b), "concordance": ccc(a, b)}
    return figures


def summary(truth: Floats, seen: Floats) -> Figures:
    """Means over the units that are given, faces, and how many units are told."""
    units = by_unit(truth, seen)
    correlation = np.array([found["correlation"] for found in units.values()])
    concordance = np.array([found["concordance"] for found in units.values()])
    return {
        "faces": float(len(seen)),
        "missed": float(np.isnan(seen).all(1).sum()),
        "units": float(len(units)),
        "units_above_05": float((correlation >= GOOD).sum()),
        "correlation": float(np.nanmean(correlation)) if len(units) else float("nan"),
        "concordance": float(np.nanmean(concordance)) if len(units) else float("nan"),
    }


def smiles(seen: Floats, emotion: NDArray[Any]) -> Figures:
    """Median AU12 of faces that people called happy, and neutral."""
    smile = seen[:, UNITS.index("AU12")]
    figures = {}
    for name in ("happiness", "neutral"):
        values = smile[(emotion == name) & np.isfinite(smile)]
        figures[f"{name}_faces"] = float(len(values))
        figures[f"{name}_median"] = float(np.median(values)) if len(values) else float("nan")
    return figures


def closed_eyes(seen: Floats, truth: Floats, eye_open: Floats) -> Figures:
    """How well AU43 tells closed from open eyes, and how well the teacher's own does."""
    column = UNITS.index("AU43")
    judged = ((eye_open < CLOSED) | (eye_open > OPEN)) & np.isfinite(seen[:, column])
    closed = eye_open[judged] < CLOSED
    figures = {"closed": float(closed.sum()), "open": float((~closed).sum())}
    if closed.any() and not closed.all():
        figures["auc"] = Roc.of(seen[judged, column], closed).auc
        figures["teacher_auc"] = Roc.of(truth[judged, column], closed).auc
    return figures


def pearson(a: Floats, b: Floats) -> float:
    """Correlation; NaN where one side does not vary."""
    if a.std() == 0 or b.std() == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def _known(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    both = np.isfinite(a) & np.isfinite(b)
    return a[both].astype(np.float64), b[both].astype(np.float64)
