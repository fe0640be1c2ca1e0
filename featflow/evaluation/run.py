"""``featflow evaluate``: measure the shipped nodes and write what was found beside the recipes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import featflow
from featflow.detector import Detector
from featflow.errors import OptionError
from featflow.evaluation import shared_faces
from featflow.evaluation.action_units import action_units
from featflow.evaluation.composed import detection_in_composed_scenes
from featflow.evaluation.expressions import expression_figures
from featflow.evaluation.gaze import gaze_on_faces
from featflow.evaluation.identity_faces import verification_on_val
from featflow.evaluation.masks import masks_on_faces
from featflow.files import write_atomically

Figures = dict[str, Any]
Measure = Callable[[Path], Figures]


def evaluate_all(shared: Path, nodes: Sequence[str] = ()) -> dict[str, Figures]:
    """Figures of embedded nodes, measured on the CPU.

    Args:
        shared: folder that holds ``faces/`` and ``media/groups/``.
        nodes: which, as ``kind/name``; all of :data:`MEASURES` if empty.

    Returns:
        Node id to its figures.

    Raises:
        OptionError: a node is not one of those that are measured.
    """
    unknown = sorted(set(nodes) - MEASURES.keys())
    if unknown:
        raise OptionError(f"no measures for {', '.join(unknown)}; there are: {', '.join(MEASURES)}")
    return {node: MEASURES[node](shared) for node in nodes or MEASURES}


def _detector(**slots: str) -> Detector:
    return Detector.only(**{"face": "tiny", "device": "cpu", **slots})


def _face(shared: Path) -> Figures:
    detector, faces = _detector(), shared / "faces"
    return {
        "ytf val, IoU 0.5": shared_faces.detection_on_portraits(detector, faces),
        "scene val, IoU 0.5": shared_faces.detection_in_scenes(detector, faces),
        "composed scenes, 1 to 30 faces of 16 to 200 px, IoU 0.5": (
            detection_in_composed_scenes(detector, faces)
        ),
        "group photographs, IoU 0.4": shared_faces.detection_in_groups(
            detector, shared / "media" / "groups"
        ),
        "no face": shared_faces.false_alarms(detector, faces),
        **{
            f"labelled face found, {name}": found
            for name, found in shared_faces.labelled_faces_found(detector, faces).items()
        },
    }


def _points_and_pose(part: str) -> Measure:
    def measure(shared: Path) -> Figures:
        found = shared_faces.landmarks_and_pose(
            _detector(landmark="tiny", pose="mlp"), shared / "faces"
        )
        return dict(found[part])

    return measure


MEASURES: Mapping[str, Measure] = {
    "face/tiny": _face,
    "landmark/tiny": _points_and_pose("landmark"),
    "pose/mlp": _points_and_pose("pose"),
    "au/tiny": lambda shared: action_units(_detector(landmark="tiny", au="tiny"), shared / "faces"),
    "emotion/tiny": lambda shared: expression_figures(shared / "faces"),
    "identity/tiny": lambda shared: verification_on_val(
        _detector(landmark="tiny", identity="tiny"), shared / "faces"
    ),
    "gaze/tiny": lambda shared: gaze_on_faces(
        _detector(landmark="tiny", pose="mlp", gaze="tiny"), shared / "faces"
    ),
    "mask/tiny": lambda shared: masks_on_faces(
        _detector(landmark="tiny", mask="tiny"), shared / "faces"
    ),
}
"""How each embedded node is measured on the ``val`` split."""


def save_results(figures: Mapping[str, Mapping[str, Any]], catalogue: Path) -> None:
    """Write figures into ``<catalogue>/<node>/results.json`` and the node's card."""
    for node, found in figures.items():
        path = catalogue / node / "results.json"
        results = json.loads(path.read_text()) if path.is_file() else {"node": node}
        results["evaluation"] = found
        write_atomically(path, (json.dumps(results, indent=1) + "\n").encode())
        card = Path(featflow.__file__).parent / "nodes" / node / "card.toml"
        text = card.read_text(encoding="utf-8")
        kept = re.split(r"(?m)^\[metrics", text)[0]
        write_atomically(card, (kept + _metrics_table(found)).encode())


def _metrics_table(figures: Mapping[str, Any]) -> str:
    lines = ["[metrics]"]
    for name, values in figures.items():
        lines += ["", f"[metrics.{json.dumps(name)}]"]
        lines += [
            f"{key} = {round(value, 4)}"
            for key, value in values.items()
            if isinstance(value, int | float)
        ]
    return "\n".join(lines) + "\n"
