"""Finding a learning rate: raise it until training falls apart, and step back."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Literal, get_args

import torch

from featflow.errors import OptionError
from featflow.files import atomic_path
from featflow.train.average import copy_state
from featflow.train.optim import Optimiser

log = logging.getLogger("featflow.train")

Mode = Literal["set", "graph_and_set", "graph_and_exit"]


class LRStrength(Enum):
    """How far below the rate of the lowest loss to stay."""

    DEFAULT = 10.0
    AGGRESSIVE = 5.0
    EXTREME = 2.5


@dataclass
class Sweep:
    """What a sweep saw: one entry a step."""

    rates: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    smoothed: list[float] = field(default_factory=list)


class LearningRateFinder:
    """Learning-rate range test (Smith 2017, arXiv 1506.01186).

    The rate grows exponentially while the loss is smoothed by a bias-corrected moving average.
    The sweep ends when that average is ``stop_factor`` times its lowest or not finite. The best
    rate is that of the lowest average over the strength's factor. Weights, optimiser, training
    flag and torch's random state come back bit for bit, found or not; no file is touched but the
    figure.

    Args:
        optimiser: of the model that is trained.
        train_step: trains one whole optimiser step on the next data and returns its loss.
        steps: of the sweep.
        start_lr: first rate.
        end_lr: last rate.
        strength: ``default`` (lowest / 10), ``aggressive`` (/ 5) or ``extreme`` (/ 2.5).
        mode: ``set`` gives the optimiser the best rate, ``graph_and_set`` also writes the figure,
            ``graph_and_exit`` only writes it; the caller then ends.
        figure: PNG to write in the modes that do.
        stop_factor: how many times the lowest loss ends the sweep.
        beta: smoothing of the loss, 0 <= beta < 1.

    Raises:
        OptionError: an option cannot be used, or a figure is wanted and has no name.
    """

    def __init__(
        self,
        optimiser: Optimiser,
        train_step: Callable[[], float],
        *,
        steps: int = 1000,
        start_lr: float = 1e-10,
        end_lr: float = 1e-1,
        strength: str | LRStrength = LRStrength.DEFAULT,
        mode: Mode = "set",
        figure: str | Path | None = None,
        stop_factor: float = 4.0,
        beta: float = 0.98,
    ) -> None:
        if mode not in get_args(Mode):
            raise OptionError(f"mode must be one of {get_args(Mode)}, got {mode!r}")
        if mode != "set" and figure is None:
            raise OptionError(f"mode {mode!r} needs the name of a figure")
        if not (steps >= 2 and 0 < start_lr < end_lr and stop_factor > 1 and 0 <= beta < 1):
            raise OptionError(
                "a sweep needs steps >= 2, 0 < start_lr < end_lr, stop_factor > 1 and "
                f"0 <= beta < 1, got {steps}, {start_lr}, {end_lr}, {stop_factor}, {beta}"
            )
        self.optimiser, self.train_step = optimiser, train_step
        self.steps, self.ends = steps, (start_lr, end_lr)
        self.strength, self.mode = _strength(strength), mode
        self.figure = None if figure is None else Path(figure)
        self.stop_factor, self.beta = stop_factor, beta
        self.sweep = Sweep()
        self._best: float | None = None

    @property
    def best_lr(self) -> float | None:
        """The best rate, or None before a search and after one that found none."""
        return self._best

    def find(self) -> float | None:
        """Sweep, put everything back, and return the best rate, or None if there is none.

        Raises:
            OutputError: the figure cannot be written.
        """
        model = self.optimiser.model
        weights, memory = copy_state(model), self.optimiser.state_dict()
        training, self.sweep = model.training, Sweep()
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        try:
            with torch.random.fork_rng(devices):
                self._run()
        finally:
            model.load_state_dict(weights)
            self.optimiser.load_state_dict(memory)
            model.train(training)
        self._best = self._choose()
        if self.figure is not None and self.mode != "set":
            write_figure(self.sweep, self._best, self.figure)
        if self._best is None:
            log.warning("no learning rate found: the loss never fell; the rate stays as it was")
        elif self.mode != "graph_and_exit":
            self.optimiser.set_lr(self._best)
        return self._best

    def _run(self) -> None:
        low, high = self.ends
        mean, lowest = 0.0, math.inf
        for index in range(self.steps):
            rate = low * (high / low) ** (index / (self.steps - 1))
            for group in self.optimiser.torch.param_groups:
                group["lr"] = rate
            loss = float(self.train_step())
            mean = self.beta * mean + (1 - self.beta) * loss
            smoothed = mean / (1 - self.beta ** (index + 1))
            if not math.isfinite(smoothed) or self.optimiser.skipped:
                return
            self.sweep.rates.append(rate)
            self.sweep.losses.append(loss)
            self.sweep.smoothed.append(smoothed)
            lowest = min(lowest, smoothed)
            if smoothed > self.stop_factor * lowest:
                return

    def _choose(self) -> float | None:
        smoothed = self.sweep.smoothed
        if not smoothed or min(smoothed) >= smoothed[0]:
            return None
        return self.sweep.rates[smoothed.index(min(smoothed))] / self.strength.value


def write_figure(sweep: Sweep, best: float | None, path: Path) -> None:
    """Loss over learning rate, as a PNG, whole or not at all.

    Raises:
        OutputError: there is no such folder, or it cannot be written.
    """
    # Imported here, and without pyplot: no window system, no figure that outlives the call.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(sweep.rates, sweep.losses, color="0.75", label="loss")
    axes.plot(sweep.rates, sweep.smoothed, label="smoothed")
    if best is not None:
        axes.axvline(best, color="C3", linestyle="--", label=f"best {best:.2e}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
    axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)


def _strength(name: str | LRStrength) -> LRStrength:
    if isinstance(name, LRStrength):
        return name
    try:
        return LRStrength[name.upper()]
    except KeyError:
        known = [each.name.lower() for each in LRStrength]
        raise OptionError(f"strength must be one of {known}, got {name!r}") from None
