"""How the learning rate changes: warm-up, cosine, one cycle.

A schedule is a pure function of the step, so that a run which resumes goes on where it stopped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch.optim import Optimizer

from featflow.errors import OptionError

Shape = Literal["constant", "cosine", "one_cycle"]

ONE_CYCLE_RISE, ONE_CYCLE_START, ONE_CYCLE_END = 0.3, 1 / 25, 1e-4
"""Part of the steps that rise, first rate over the peak, last rate over the first."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The learning rate as a part of its peak.

    Attributes:
        shape: after the warm-up ``constant``, or half a ``cosine`` down to ``end``; or
            ``one_cycle`` (Smith and Topin 2019): a cosine up from 1/25 over 30 % of the steps,
            then one down to 1/250,000, which is a warm-up of its own.
        steps: last step of ``cosine`` and ``one_cycle``.
        warmup: steps of linear warm-up; the first step has 1 / warmup of the peak.
        end: last rate of ``cosine``, as a part of the peak.

    Raises:
        OptionError: a value cannot be used, or ``one_cycle`` has a warm-up.
    """

    shape: Shape = "constant"
    steps: int = 0
    warmup: int = 0
    end: float = 0.0

    def __post_init__(self) -> None:
        if self.shape not in get_args(Shape):
            raise OptionError(f"schedule must be one of {get_args(Shape)}, got {self.shape!r}")
        if self.warmup < 0 or self.steps < 0 or not 0 <= self.end <= 1:
            raise OptionError(f"schedule needs steps, warmup >= 0 and end in 0..1, got {self}")
        if self.shape != "constant" and self.steps < 1:
            raise OptionError(f"a {self.shape} schedule needs the number of steps")
        if self.shape == "one_cycle" and self.warmup:
            raise OptionError("a one_cycle schedule has its own warm-up: set warmup to 0")

    def factor(self, step: int) -> float:
        """Part of the peak that step number ``step`` (from 0) takes."""
        if self.shape == "one_cycle":
            return one_cycle(step, self.steps)
        if step < self.warmup:
            return (step + 1) / self.warmup
        if self.shape == "constant":
            return 1.0
        part = (step - self.warmup) / max(1, self.steps - self.warmup)
        return _cosine(1.0, self.end, part)


def one_cycle(step: int, steps: int) -> float:
    """Part of the peak at a step of Smith and Topin's one cycle."""
    peak = ONE_CYCLE_RISE * steps - 1
    if step <= peak:
        return _cosine(ONE_CYCLE_START, 1.0, step / peak)
    part = (step - peak) / max(1e-9, steps - 1 - peak)
    return _cosine(1.0, ONE_CYCLE_START * ONE_CYCLE_END, part)


def _cosine(first: float, last: float, part: float) -> float:
    """Half a cosine from ``first`` at 0 to ``last`` at 1, which holds from there on."""
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, part))))


class Scheduler:
    """Gives an optimiser the learning rate of each step.

    Each parameter group keeps its own peak. The optimiser holds the rate of the step to come.

    Args:
        optimiser: its groups' present rates are the peaks.
        schedule: the rate as a part of the peak.
        step: steps that were taken already.
    """

    def __init__(self, optimiser: Optimizer, schedule: Schedule, step: int = 0) -> None:
        self.optimiser, self.schedule = optimiser, schedule
        self.peaks = [float(group["lr"]) for group in optimiser.param_groups]
        self.count = step
        self._apply()

    def get_lr(self) -> list[float]:
        """Rate of each parameter group for the step to come."""
        factor = self.schedule.factor(self.count)
        return [peak * factor for peak in self.peaks]

    def step(self) -> None:
        """Note that the optimiser took a step."""
        self.count += 1
        self._apply()

    def set_lr(self, lr: float) -> None:
        """Give every group a new peak."""
        self.peaks = [lr] * len(self.peaks)
        self._apply()

    def state_dict(self) -> dict[str, Any]:
        """Steps taken and peaks."""
        return {"count": self.count, "peaks": list(self.peaks)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where it was saved."""
        self.count, self.peaks = int(state["count"]), [float(p) for p in state["peaks"]]
        self._apply()

    def _apply(self) -> None:
        for group, rate in zip(self.optimiser.param_groups, self.get_lr(), strict=True):
            group["lr"] = rate
