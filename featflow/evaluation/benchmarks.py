"""``featflow evaluate NODE --data NAME``: a node on a data set that the user has."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from featflow.datasets.benchmarks import AnySet, BoxSet, FaceSet, PairSet, benchmark, load_benchmark
from featflow.detector import Detector
from featflow.errors import MissingInputError, OptionError
from featflow.evaluation.benchmark_figures import (
    Figures,
    box_figures,
    emotion_figures,
    gaze_figures,
    landmark_figures,
    pair_figures,
    pose_figures,
    unit_figures,
)
from featflow.files import write_atomically
from featflow.nodes.registry import available, get_node_class

EMBEDDED = {
    "face": "face/tiny",
    "landmark": "landmark/tiny",
    "pose": "pose/mlp",
    "au": "au/tiny",
    "emotion": "emotion/tiny",
    "identity": "identity/tiny",
    "gaze": "gaze/tiny",
}
"""The node of each kind that is measured where none is named."""

_FACE_MEASURES: Mapping[str, Callable[[Detector, FaceSet], Figures]] = {
    "landmark": landmark_figures,
    "pose": pose_figures,
    "au": unit_figures,
    "emotion": emotion_figures,
    "gaze": gaze_figures,
}


def evaluate_benchmark(
    name: str,
    root: str | Path | None = None,
    nodes: Sequence[str] = (),
    *,
    device: str = "cpu",
) -> dict[str, Figures]:
    """Measure nodes on a data set of the field, from the detector's own boxes.

    Args:
        name: one of :data:`featflow.datasets.benchmarks.BENCHMARKS`.
        root: the set's folder; ``$FEATFLOW_DATA/<name>`` if None.
        nodes: which, as ``kind/name``; the embedded ones of the set's kinds if empty.
        device: where to run.

    Returns:
        Node id to its figures, by part of the set's protocol.

    Raises:
        OptionError: no such set, or a node is not of a kind that the set measures.
        UnknownNodeError: no such node.
        MissingInputError: the set is not there; nothing is downloaded.
        InputError: a file of the set is not what its authors publish.
    """
    kinds = benchmark(name).kinds
    chosen = list(nodes) or [EMBEDDED[kind] for kind in kinds if EMBEDDED[kind] in available()]
    for node in chosen:
        kind, _, short = node.partition("/")
        if kind not in kinds:
            raise OptionError(f"{name} measures nodes of {', '.join(kinds)}, and not {node!r}")
        get_node_class(kind, short)
    data = load_benchmark(name, root)
    return {node: measure(detector_for(node, device), node, data) for node in chosen}


def detector_for(node: str, device: str = "cpu") -> Detector:
    """A detector with this node, what it needs, and nothing else."""
    kind, _, name = node.partition("/")
    slots: dict[str, Any] = dict.fromkeys(EMBEDDED)
    if kind != "face":
        slots.update(face="tiny", landmark="tiny")
    slots[kind] = name
    if kind == "identity":
        slots["identity_method"] = None
    return Detector(**slots, mask=None, device=device)


def measure(detector: Detector, node: str, data: AnySet) -> Figures:
    """The figures of a node on what a benchmark holds."""
    if isinstance(data, PairSet):
        return pair_figures(detector, data)
    if isinstance(data, BoxSet):
        return box_figures(detector, data)
    return _FACE_MEASURES[node.split("/")[0]](detector, data)


def save_benchmark(
    name: str, figures: Mapping[str, Mapping[str, Any]], catalogue: Path
) -> list[Path]:
    """Write figures into ``<catalogue>/<node>/results.json``, under ``benchmarks``.

    Cards are left alone: they tell what anyone can measure again.

    Raises:
        MissingInputError: a node has no folder in the catalogue.
    """
    written = []
    for node, found in figures.items():
        folder = catalogue / node
        if not folder.is_dir():
            raise MissingInputError(str(folder), "is no folder of the node catalogue")
        path = folder / "results.json"
        results: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {"node": node}
        results.setdefault("benchmarks", {})[name] = found
        write_atomically(path, (json.dumps(results, indent=1) + "\n").encode())
        written.append(path)
    return written
