"""Averaged weights: a slow copy of a model that is steadier than the model itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from featflow.errors import OptionError

State = dict[str, Tensor]


def copy_state(model: nn.Module) -> State:
    """Weights and buffers, copied."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


@torch.no_grad()
def follow(average: State, model: nn.Module, decay: float) -> None:
    """Move an average towards a model: ``decay`` of it stays; counters are copied."""
    for name, value in model.state_dict().items():
        mean = average[name]
        if mean.dtype.is_floating_point:
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)


def early_decay(decay: float, step: int) -> float:
    """A smaller decay early on, so that the average never remembers the random start."""
    return min(decay, (1 + step) / (10 + step))


class WeightAverage:
    """Exponential moving average of a model's weights and buffers.

    Args:
        model: what to follow.
        decay: part of the average that stays at each update, 0 <= decay < 1.
    """

    def __init__(self, model: nn.Module, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise OptionError(f"an average needs 0 <= decay < 1, got {decay}")
        self.decay, self.count = decay, 0
        self.weights = copy_state(model)

    def update(self, model: nn.Module) -> None:
        """Follow the model by one step."""
        follow(self.weights, model, early_decay(self.decay, self.count))
        self.count += 1

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Lend the averaged weights to the model, and give its own back."""
        own = copy_state(model)
        model.load_state_dict(self.weights)
        try:
            yield
        finally:
            model.load_state_dict(own)

    def state_dict(self) -> dict[str, Any]:
        """Weights and number of updates."""
        return {"weights": {k: v.clone() for k, v in self.weights.items()}, "count": self.count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where it was saved."""
        self.weights = {k: v.clone() for k, v in state["weights"].items()}
        self.count = int(state["count"])
