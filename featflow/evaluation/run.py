"""``featflow evaluate``: measure the shipped nodes and write what was found beside the recipes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import featflow
from featflow.detector import Detector
from featflow.evaluation import shared_faces
from featflow.evaluation.action_units import action_units
from featflow.evaluation.composed import detection_in_composed_scenes
from featflow.evaluation.expressions import expression_figures
from featflow.evaluation.gaze import gaze_on_faces
from featflow.evaluation.identity_faces import verification_on_val
from featflow.evaluation.masks import masks_on_faces
from featflow.files import write_atomically


def evaluate_all(shared: Path, detector: Detector | None = None) -> dict[str, dict[str, Any]]:
    """Figures of every embedded node.

    Args:
        shared: folder that holds ``faces/`` and ``media/groups/``.
        detector: what to measure; the default detector on the CPU if None.

    Returns:
        Node id to its figures.
    """
    detector = detector or Detector(device="cpu")
    faces, groups = shared / "faces", shared / "media" / "groups"
    described = shared_faces.landmarks_and_pose(detector, faces)
    return {
        "face/tiny": {
            "ytf val, IoU 0.5": shared_faces.detection_on_portraits(detector, faces),
            "scene val, IoU 0.5": shared_faces.detection_in_scenes(detector, faces),
            "composed scenes, 1 to 30 faces of 16 to 200 px, IoU 0.5": (
                detection_in_composed_scenes(detector, faces)
            ),
            "group photographs, IoU 0.4": shared_faces.detection_in_groups(detector, groups),
            "no face": shared_faces.false_alarms(detector, faces),
        },
        "landmark/tiny": described["landmark"],
        "pose/mlp": described["pose"],
        "au/tiny": action_units(_with(detector, "au"), faces),
        "identity/tiny": verification_on_val(_with(detector, "identity"), faces),
        "gaze/tiny": gaze_on_faces(Detector(gaze="tiny", device=detector.device), faces),
        "mask/tiny": masks_on_faces(Detector(mask="tiny", device=detector.device), faces),
        "emotion/tiny": expression_figures(faces),
    }


def _with(detector: Detector, slot: str) -> Detector:
    """The detector itself, or one with the embedded node in a slot that is empty."""
    if slot in detector.nodes:
        return detector
    return Detector(pose=None, device=detector.device, **{slot: "tiny"})  # type: ignore[arg-type]


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
