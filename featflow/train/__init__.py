"""Training: recipes, data, losses, the loop.

Names are imported on first use, so that importing this package does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from featflow.train.callbacks import Callback, EarlyStopping, Progress
    from featflow.train.events import TensorBoard, read_events
    from featflow.train.fitted import FittedNode, load_node
    from featflow.train.fitting import fit_node
    from featflow.train.losses.collator import BatchLoss, BatchMasks, LossCollator
    from featflow.train.lr_finder import LearningRateFinder
    from featflow.train.optim import OptimConfig, Optimiser
    from featflow.train.trainer import Intervals, Trainer

_HOME = {
    "BatchLoss": "losses.collator",
    "BatchMasks": "losses.collator",
    "Callback": "callbacks",
    "EarlyStopping": "callbacks",
    "FittedNode": "fitted",
    "Intervals": "trainer",
    "LearningRateFinder": "lr_finder",
    "LossCollator": "losses.collator",
    "OptimConfig": "optim",
    "Optimiser": "optim",
    "Progress": "callbacks",
    "TensorBoard": "events",
    "Trainer": "trainer",
    "fit_node": "fitting",
    "load_node": "fitted",
    "read_events": "events",
}

__all__ = [
    "BatchLoss",
    "BatchMasks",
    "Callback",
    "EarlyStopping",
    "FittedNode",
    "Intervals",
    "LearningRateFinder",
    "LossCollator",
    "OptimConfig",
    "Optimiser",
    "Progress",
    "TensorBoard",
    "Trainer",
    "fit_node",
    "load_node",
    "read_events",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
