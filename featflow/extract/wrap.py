"""``Wrapped``: the base of nodes that run another node in a different way."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from featflow.flow.batch import Batch, FaceBatch
from featflow.flow.node import Node


class Wrapped(Node):
    """A node that declares what the node inside declares and does what that node does.

    Subclasses change the phases. The name says what was done: ``tiny`` becomes ``tiny+rotate``.
    Weights belong to the node inside; two wrappers may share it.

    Args:
        node: the node inside.
        mark: what is added to its name.
    """

    def __init__(self, node: Node, mark: str) -> None:
        super().__init__()
        self.node = node
        self.kind, self.name, self.unit = node.kind, f"{node.name}+{mark}", node.unit
        self.requires, self.provides, self.shapes = node.requires, node.provides, node.shapes
        self.spec, self.batch_size, self.reads_frames = (
            node.spec,
            node.batch_size,
            node.reads_frames,
        )
        self.device = node.device

    def shape_of(self, name: str) -> tuple[int, ...] | None:
        """As the node inside declares it."""
        return self.node.shape_of(name)

    def usable(self, faces: FaceBatch) -> NDArray[np.bool_]:
        """As the node inside has it."""
        return self.node.usable(faces)

    def load(self, device: torch.device | str = "cpu") -> None:
        """Load the node inside."""
        self.node.load(device)
        super().load(device)

    def unload(self) -> None:
        """Unload the node inside."""
        self.node.unload()
        super().unload()

    def weights_hash(self) -> str:
        """Of the node inside."""
        return self.node.weights_hash()

    def pre_process(self, batch: Batch) -> Any:
        """As the node inside does it."""
        return self.node.pre_process(batch)

    def process(self, inputs: Any) -> Any:
        """As the node inside does it."""
        return self.node.process(inputs)

    def post_process(self, batch: Batch, outputs: Any) -> Any:
        """As the node inside does it."""
        return self.node.post_process(batch, outputs)
