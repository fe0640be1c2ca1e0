"""Batches, nodes and the engine that runs them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featflow.flow.batch import Batch, FaceBatch, FrameBatch
    from featflow.flow.graph import order_nodes
    from featflow.flow.node import InputSpec, Node
    from featflow.flow.rebatch import FLUSH
    from featflow.flow.runner import Flow
    from featflow.flow.session import Session

_HOME = {
    "Batch": "batch",
    "FaceBatch": "batch",
    "FrameBatch": "batch",
    "order_nodes": "graph",
    "InputSpec": "node",
    "Node": "node",
    "FLUSH": "rebatch",
    "Flow": "runner",
    "Session": "session",
}
__all__ = [
    "FLUSH",
    "Batch",
    "FaceBatch",
    "Flow",
    "FrameBatch",
    "InputSpec",
    "Node",
    "Session",
    "order_nodes",
]


def __getattr__(name: str) -> Any:
    # Names are looked up when they are used, so that a batch does not cost an import of torch.
    if name in _HOME:
        return getattr(import_module(f"featflow.flow.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
