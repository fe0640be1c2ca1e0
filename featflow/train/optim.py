"""Fitting weights: optimisers by name, accumulation, mixed precision, clipping, averages."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from featflow.errors import OptionError
from featflow.train.average import WeightAverage
from featflow.train.clipping import GradClip, Method
from featflow.train.optimisers import AdaBelief, Lion
from featflow.train.schedule import Schedule, Scheduler, Shape

Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True, slots=True)
class OptimConfig:
    """How weights are fitted.

    Attributes:
        name: one of :data:`OPTIMISERS`.
        lr: peak learning rate.
        betas: of the Adam family and Lion.
        eps: of the Adam family and RMSprop.
        weight_decay: of weights with two or more dimensions; biases and 1-D weights have none.
        amsgrad: of Adam, AdamW and AdaBelief.
        momentum: of SGD and RMSprop.
        clip: how gradients are bounded.
        clip_value: the bound; for ``autoclip`` a percentile.
        accumulate: batches whose gradients are averaged for one step.
        precision: ``bf16`` and ``fp16`` run the forward pass in mixed precision; ``fp16`` scales
            the loss.
        schedule: shape of the learning rate.
        steps: of the schedule.
        warmup: steps of linear warm-up.
        lr_end: last rate of ``cosine``, as a part of ``lr``.
        ema: decay of the averaged weights; 0 keeps none.

    Raises:
        OptionError: a value cannot be used; the message names it.
    """

    name: str = "adam"
    lr: float = 5e-5
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-7
    weight_decay: float = 0.0
    amsgrad: bool = False
    momentum: float = 0.9
    clip: Method = "none"
    clip_value: float = 1.0
    accumulate: int = 1
    precision: Precision = "fp32"
    schedule: Shape = "constant"
    steps: int = 0
    warmup: int = 0
    lr_end: float = 0.0
    ema: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in OPTIMISERS:
            known = ", ".join(OPTIMISERS)
            raise OptionError(f"no optimiser is called {self.name!r}; known optimisers: {known}")
        if self.amsgrad and "amsgrad" not in OPTIMISERS[self.name][1]:
            raise OptionError(f"{self.name} has no amsgrad")
        if self.precision not in get_args(Precision):
            raise OptionError(f"precision must be one of {get_args(Precision)}")
        if self.accumulate < 1:
            raise OptionError(f"accumulate must be 1 or more, got {self.accumulate}")
        for name, below in (("lr", math.inf), ("weight_decay", math.inf), ("ema", 1)):
            if not 0 <= getattr(self, name) < below:
                raise OptionError(f"{name} must be 0 or more and below {below}, got {self}")
        self.schedule_of_rate()
        GradClip(self.clip, self.clip_value)

    def schedule_of_rate(self) -> Schedule:
        """The learning rate by step, as parts of ``lr``."""
        return Schedule(self.schedule, self.steps, self.warmup, self.lr_end)


_ADAM = ("betas", "eps", "amsgrad")
OPTIMISERS: MappingProxyType[str, tuple[Callable[..., Optimizer], tuple[str, ...]]] = (
    MappingProxyType(
        {
            "adam": (torch.optim.Adam, _ADAM),
            "adamw": (torch.optim.AdamW, _ADAM),
            "adabelief": (AdaBelief, _ADAM),
            "adamax": (torch.optim.Adamax, ("betas", "eps")),
            "lion": (Lion, ("betas",)),
            "nadam": (torch.optim.NAdam, ("betas", "eps")),
            "rmsprop": (torch.optim.RMSprop, ("eps", "momentum")),
            "sgd": (torch.optim.SGD, ("momentum",)),
        }
    )
)
"""What makes each optimiser, and which options it takes beside ``lr``."""


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups that leave biases and other one-dimensional weights undecayed."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def make_optimiser(model: nn.Module, config: OptimConfig) -> Optimizer:
    """The torch optimiser that a configuration names.

    Raises:
        OptionError: a number cannot be used.
    """
    make, taken = OPTIMISERS[config.name]
    try:
        return make(
            decay_groups(model, config.weight_decay),
            lr=config.lr,
            **{name: getattr(config, name) for name in taken},
        )
    except ValueError as error:
        raise OptionError(f"{config.name}: {error}") from error


class Optimiser:
    """Everything between a loss and new weights.

    ``backward`` takes the loss of one batch; every ``accumulate``-th ``step`` looks at the
    gradients first: where they are finite it clips them, moves the weights, the averages and the
    learning rate; where they are not it drops them and counts.

    Args:
        model: what is trained.
        config: how.

    Attributes:
        torch: the torch optimiser inside.
        norm: global norm of the last gradients, before clipping.
        skipped: steps in a row that were skipped because a gradient was not finite.
        average: averaged weights, or None.

    Raises:
        OptionError: an option cannot be used.
    """

    def __init__(self, model: nn.Module, config: OptimConfig) -> None:
        self.model, self.config = model, config
        self.torch = make_optimiser(model, config)
        self.clip = GradClip(config.clip, config.clip_value)
        self.scheduler = Scheduler(self.torch, config.schedule_of_rate())
        self.average = WeightAverage(model, config.ema) if config.ema else None
        self.scaler = torch.amp.GradScaler(self._device(), enabled=config.precision == "fp16")
        self.norm = math.nan
        self.skipped = 0
        self._pending = 0

    @property
    def lr(self) -> float:
        """Learning rate of the step to come."""
        return float(self.torch.param_groups[0]["lr"])

    def set_lr(self, lr: float) -> None:
        """Set the peak learning rate; the schedule goes on from where it is."""
        self.scheduler.set_lr(lr)

    def autocast(self) -> AbstractContextManager[Any]:
        """The context that the forward pass and the loss run in."""
        dtype = torch.float16 if self.config.precision == "fp16" else torch.bfloat16
        enabled = self.config.precision != "fp32"
        return torch.autocast(self._device(), dtype=dtype, enabled=enabled)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of one batch's mean loss."""
        scaled: Tensor = self.scaler.scale(loss / self.config.accumulate)
        scaled.backward()  # type: ignore[no-untyped-call]
        self._pending += 1

    def step(self) -> bool:
        """Move the weights if enough batches were seen; say whether they moved."""
        if self._pending < self.config.accumulate:
            return False
        self._pending = 0
        self.scaler.unscale_(self.torch)
        self.norm = self.clip(self.model.parameters())
        finite = math.isfinite(self.norm)
        if finite:
            self.scaler.step(self.torch)
        # The scaler lowers its scale after an overflow, so it learns of skipped steps too.
        if self.config.precision == "fp16":
            self.scaler.update()
        self.torch.zero_grad(set_to_none=True)
        self.skipped = 0 if finite else self.skipped + 1
        if finite:
            self.scheduler.step()
            if self.average is not None:
                self.average.update(self.model)
        return finite

    def forget(self) -> None:
        """Drop gradients that wait for a step."""
        self._pending = 0
        self.torch.zero_grad(set_to_none=True)

    def to(self, device: str | torch.device) -> None:
        """Move what the optimiser remembers to the device of its weights."""
        # torch casts loaded moments to their weights' device, so a round trip moves them.
        self.model.to(device)
        self.torch.load_state_dict(self.torch.state_dict())
        if self.average is not None:
            self.average.weights = {k: v.to(device) for k, v in self.average.weights.items()}

    def state_dict(self) -> dict[str, Any]:
        """Moments, learning rate, clipping history, loss scale and averages, copied.

        Gradients that wait for the rest of an accumulation are not part of it.
        """
        return {
            "torch": copy.deepcopy(self.torch.state_dict()),
            "scheduler": self.scheduler.state_dict(),
            "clip": self.clip.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "skipped": self.skipped,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where it was saved, with the same configuration."""
        self.torch.load_state_dict(copy.deepcopy(state["torch"]))
        self.scheduler.load_state_dict(state["scheduler"])
        self.clip.load_state_dict(state["clip"])
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        if self.average is not None and state["average"] is not None:
            self.average.load_state_dict(state["average"])
        self.skipped = int(state["skipped"])
        self.forget()

    def _device(self) -> str:
        return next(self.model.parameters()).device.type
