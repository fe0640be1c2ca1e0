"""Making a detector fast on one machine: warming up, compiling, finding batch sizes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featflow.tuning.compiled import compile_node
    from featflow.tuning.profile import Profile, profile_nodes, sweep_node
    from featflow.tuning.warmup import find_layout, sample_of, warm_up

_HOME = {
    "Profile": "profile",
    "compile_node": "compiled",
    "find_layout": "warmup",
    "profile_nodes": "profile",
    "sample_of": "warmup",
    "sweep_node": "profile",
    "warm_up": "warmup",
}
__all__ = [
    "Profile",
    "compile_node",
    "find_layout",
    "profile_nodes",
    "sample_of",
    "sweep_node",
    "warm_up",
]


def __getattr__(name: str) -> Any:
    # Names are looked up when they are used, so that reading a profile does not import torch.
    if name in _HOME:
        return getattr(import_module(f"featflow.tuning.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
