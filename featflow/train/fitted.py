"""Nodes whose head was fitted to a user's labels: saved, loaded, plugged into a detector."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from featflow.errors import (
    MissingInputError,
    OptionError,
    OutputError,
    WeightsError,
)
from featflow.fex.schema import GROUPS
from featflow.files import write_atomically, write_text_atomic
from featflow.flow.batch import Batch
from featflow.flow.node import Node
from featflow.geometry.centring import align51
from featflow.geometry.similarity import apply
from featflow.nodes._network import NetworkNode
from featflow.nodes.registry import make_node

Floats = NDArray[np.floating[Any]]

SUGGESTED = "landmark/tiny"
"""A network that knows faces and is always there."""

WEIGHTS, CARD = "weights.safetensors", "card.toml"
_FIRST_INNER = 17


@dataclass(frozen=True)
class Head:
    """A linear layer on standardised features.

    Attributes:
        columns: what it gives, columns of the table.
        mean, scale: (F,) of the features.
        weight: (columns, F).
        offset: (columns,).
        classes: True for probabilities that sum to 1, False for values in 0..1.
    """

    columns: tuple[str, ...]
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    weight: NDArray[np.float32]
    offset: NDArray[np.float32]
    classes: bool

    def __call__(self, features: Floats) -> NDArray[np.float64]:
        """(N, columns) of features (N, F)."""
        scaled = np.asarray((features - self.mean) / self.scale, np.float64)
        values = scaled @ self.weight.T.astype(np.float64) + self.offset
        if not self.classes:
            return np.asarray(np.clip(values, 0, 1), np.float64)
        odds = np.exp(values - values.max(1, keepdims=True))
        return np.asarray(odds / odds.sum(1, keepdims=True), np.float64)


class FittedNode(Node):
    """A node whose head was fitted to a user's labels; its trunk is a shipped network.

    Columns that it was not taught are NaN.

    Args:
        kind: slot that it fills.
        base: the node whose network sees the crop.
        head: what is read from it.
        about: how it was fitted, and what it was measured to do.
    """

    unit = "face"
    name = "fitted"
    batch_size = 32

    def __init__(self, kind: str, base: NetworkNode, head: Head, about: Mapping[str, Any]) -> None:
        super().__init__()
        self.kind, self.base, self.head, self.about = kind, base, head, dict(about)
        field = GROUPS[kind].field
        self.provides = (field,)
        self.shapes = {field: (len(GROUPS[kind].names()),)}
        self.requires = tuple(sorted({"landmarks", *base.requires} - {field}))
        self.spec = base.spec

    def load(self, device: torch.device | str = "cpu") -> None:
        """Read the trunk's weights."""
        self.base.load(device)
        super().load(device)

    def unload(self) -> None:
        """Let go of the trunk."""
        self.base.unload()
        super().unload()

    def weights_hash(self) -> str:
        """SHA-256 of the head as it is saved."""
        return hashlib.sha256(self._content()).hexdigest()

    def pre_process(self, batch: Batch) -> tuple[NDArray[np.uint8], Floats]:
        """Crops (N, S, S, 3) and landmarks (N, 68, 2)."""
        assert self.spec.crop is not None  # noqa: S101 - checked when it was fitted
        return batch.crops(self.spec.crop), np.asarray(batch.faces.landmarks, np.float64)

    def process(self, inputs: tuple[NDArray[np.uint8], Floats]) -> NDArray[np.float64]:
        """The head's columns, (N, columns); NaN where landmarks are unknown."""
        features = features_of(self.base, *inputs)
        known = np.isfinite(features).all(1)
        found = np.full((len(features), len(self.head.columns)), np.nan)
        found[known] = self.head(features[known])
        return found

    def post_process(
        self, batch: Batch, outputs: NDArray[np.float64]
    ) -> Mapping[str, NDArray[np.float32]]:
        """The field of the kind."""
        names = GROUPS[self.kind].names()
        values = np.full((len(outputs), len(names)), np.nan, np.float32)
        values[:, [names.index(name) for name in self.head.columns]] = outputs
        return {self.provides[0]: values}

    def save(self, folder: str | Path) -> Path:
        """Write ``weights.safetensors`` and ``card.toml`` into a folder, which is made.

        Raises:
            OutputError: they cannot be written.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be made: {error.strerror}") from error
        content = self._content()
        write_atomically(folder / WEIGHTS, content)
        write_text_atomic(folder / CARD, self._card(content))
        return folder

    def _content(self) -> bytes:
        head = self.head
        notes = {
            "kind": self.kind,
            "base": self.base.id,
            "base_hash": self.base.weights_hash(),
            "columns": list(head.columns),
            "classes": head.classes,
            "about": self.about,
        }
        names = ("mean", "scale", "weight", "offset")
        tensors = {name: np.ascontiguousarray(getattr(head, name)) for name in names}
        return save(tensors, {"featflow": json.dumps(notes, sort_keys=True)})

    def _card(self, content: bytes) -> str:
        columns = ", ".join(self.head.columns)
        limits = [
            "It knows the people and pictures of its table; others may differ.",
            f"Columns other than {columns} are NaN.",
        ]
        entries = {
            "id": self.id,
            "summary": f"{columns} from a linear layer on what {self.base.id} sees.",
            "licence": "as the user's labels and the base node allow",
            "commercial_use": False,
            "size_bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "requires": list(self.requires),
            "provides": list(self.provides),
            "data": f"{self.about.get('faces', 0)} faces of the user's own table.",
            "method": "Standardised features, then a linear model with a quadratic penalty.",
            "limits": limits,
            "consent": "Unknown to featflow: the user's own data.",
            "metrics": self.about.get("metrics", {}),
        }
        # JSON's texts, numbers, truth values and lists are TOML's too; a table is written inline.
        lines = [f"{key} = {_toml(value)}" for key, value in entries.items()]
        return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + " }"
    return json.dumps(value)


def load_node(folder: str | Path) -> FittedNode:
    """Read what :meth:`FittedNode.save` wrote.

    Raises:
        MissingInputError: the folder holds no weights.
        WeightsError: they are damaged, or the base node's weights are others now.
    """
    path = Path(folder) / WEIGHTS
    if not path.is_file():
        raise MissingInputError(str(path), "no such weights", "save a fitted node there first")
    try:
        with safe_open(path, "np") as file:
            notes = json.loads((file.metadata() or {})["featflow"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        head = Head(tuple(notes["columns"]), **tensors, classes=bool(notes["classes"]))
        kind, base_id, digest = notes["kind"], notes["base"], notes["base_hash"]
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: is damaged or no fitted node: {error}") from error
    base = network_node(base_id)
    if base.weights_hash() != digest:
        raise WeightsError(
            f"{path}: was fitted on other weights of {base.id}; fit it again from the table"
        )
    return FittedNode(kind, base, head, notes["about"])


def features_of(base: NetworkNode, crops: NDArray[np.uint8], landmarks: Floats) -> Floats:
    """What a head is fitted to, (N, F): the network's features and the aligned inner landmarks."""
    points = apply(align51(landmarks), landmarks)[:, _FIRST_INNER:]
    inner = points.reshape(len(crops), 2 * (68 - _FIRST_INNER))
    if not len(crops):
        crops = np.zeros((1, *crops.shape[1:]), np.uint8)
        return np.zeros((0, _network_features(base, crops).shape[1] + inner.shape[1]))
    return np.concatenate([_network_features(base, crops), inner], 1)


def _network_features(base: NetworkNode, crops: NDArray[np.uint8]) -> Floats:
    seen: list[torch.Tensor] = []
    linear = _first_linear(base)
    handle = linear.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        with torch.no_grad():
            base.model(base.spec.prepare(crops, base.device))
    finally:
        handle.remove()
    return seen[0].float().cpu().numpy().astype(np.float64)


def _first_linear(base: NetworkNode) -> torch.nn.Linear:
    for module in base.model.modules():
        if isinstance(module, torch.nn.Linear):
            return module
    raise OptionError(f"{base.id} has no linear layer whose input could be used")


def network_node(node: str) -> NetworkNode:
    """A registered node that is a network which looks at crops.

    Raises:
        OptionError: it is something else.
    """
    kind, _, name = node.partition("/")
    made = make_node(kind, name)
    if not isinstance(made, NetworkNode) or made.spec.crop is None:
        raise OptionError(f"{node} is not a network that looks at crops; try {SUGGESTED}")
    return made
