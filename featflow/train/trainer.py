"""The trainer: one loop for node models and for face models."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import torch
from torch import Tensor, nn

from featflow.errors import OptionError, OutputError, TrainingError
from featflow.train import checkpoint as states
from featflow.train.average import State, copy_state
from featflow.train.callbacks import Callback
from featflow.train.distributed import mean_of_processes, rank_and_world, shared_model
from featflow.train.feed import Batch, Data, as_data, count_samples, prefetch, to_device
from featflow.train.metrics import NAME as METRICS
from featflow.train.metrics import MetricsFile
from featflow.train.optim import OptimConfig, Optimiser
from featflow.train.task import Terms

log = logging.getLogger("featflow.train")

Losses = Callable[[nn.Module, Batch, int], Terms]
"""Takes the model, a batch and the step; ``"loss"`` among its named scalars is minimised."""
Validate = Callable[[nn.Module], Mapping[str, float]]

BAD_IN_A_ROW = 3
ROLL_BACKS = 3


@dataclass(frozen=True, slots=True)
class Intervals:
    """How often things happen, in steps; 0 never.

    Attributes:
        log: rows of metrics.
        validate: validations; the end of a run has one in any case.
        save: checkpoints; the end of a run has one in any case.
        snapshot: checkpoints that are kept for good.
        keep: how many checkpoints to keep, the newest and older ones.
    """

    log: int = 50
    validate: int = 0
    save: int = 500
    snapshot: int = 0
    keep: int = 2

    def __post_init__(self) -> None:
        if min(self.validate, self.snapshot) < 0 or min(self.log, self.save, self.keep) < 1:
            raise OptionError(f"intervals must be 0 or more, log, save, keep 1 or more: {self}")


class Trainer:
    """Fits a model.

    A step whose gradient is not finite is left out before it touches the weights, with its effect
    on running means. After three in a row weights and optimiser go back to the last good state;
    when that has not helped three times, the run ends.

    Args:
        model: what is trained, on its device.
        data: has ``batches(start)``, see :class:`featflow.train.feed.Data`, or is an iterable
            of batches, such as a DataLoader, that is gone through again and again.
        losses: called with model, batch and step; returns named scalars, of which ``"loss"`` is
            minimised.
        optimiser: how; a configuration makes one.
        validate: gives figures of a model, which has its averaged weights if there are any.
        folder: for checkpoints and ``metrics.csv``; None writes nothing.
        every: how often what happens.
        callbacks: told of what happens.
        name: what is trained; a checkpoint of another name is refused.

    Attributes:
        step: optimiser steps that were taken or skipped.
        position: batches that were used.
        seconds: spent in steps, earlier parts of a resumed run included.
        curve: rows of step, seconds, mean losses and figures of validations.
        stopped: why the run was stopped early, or empty.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Data | Iterable[Batch],
        losses: Losses,
        optimiser: Optimiser | OptimConfig,
        *,
        validate: Validate | None = None,
        folder: str | Path | None = None,
        every: Intervals | None = None,
        callbacks: Sequence[Callback] = (),
        name: str = "",
    ) -> None:
        self.model, self.data, self.losses = model, as_data(data), losses
        if isinstance(optimiser, OptimConfig):
            optimiser = Optimiser(model, optimiser)
        self.optimiser = optimiser
        self.validator = validate
        self.folder = None if folder is None else Path(folder)
        self.every = every or Intervals()
        self.callbacks = list(callbacks)
        self.name = name or type(model).__name__
        self.step = self.position = self.last_step = 0
        self.seconds = 0.0
        self.curve: list[dict[str, float]] = []
        self.extra: dict[str, Any] = {}
        self.stopped = ""
        self.rank, self.world = rank_and_world()
        self.network = shared_model(model)
        self._stream: Iterator[Batch] | None = None
        self._metrics: MetricsFile | None = None
        self._recent: list[dict[str, float]] = []
        self._rate = (0.0, 0)
        self._good: states.Checkpoint | None = None
        self._rolled_back = 0
        self._sound = True

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @property
    def average(self) -> State:
        """Averaged weights, or a copy of the model's own where none are kept."""
        mean = self.optimiser.average
        return copy_state(self.model) if mean is None else mean.weights

    @property
    def seconds_left(self) -> float:
        """About how long the rest of the run takes; NaN before the first step."""
        if not self.step:
            return math.nan
        return self.seconds / self.step * max(0, self.last_step - self.step)

    def fit(
        self, steps: int | None = None, epochs: int | None = None, *, resume: bool = False
    ) -> dict[str, float]:
        """Train, and return the figures of the last validation.

        Args:
            steps: step to train up to, counted from the very first of a resumed run.
            epochs: the same in passes through the data.
            resume: go on from the checkpoint in ``folder``; without one begin at the start.

        Raises:
            OptionError: not exactly one of ``steps`` and ``epochs``, or epochs of endless data.
            TrainingError: the checkpoint cannot be used, the data end, or gradients stay bad.
            OutputError: a checkpoint cannot be written; the one before it stays.
        """
        self.last_step = self._target(steps, epochs)
        if resume:
            self.resume()
        self.stopped = ""
        self._open_metrics(fresh=not self.step)
        self.model.train()
        self._keep_good(states.capture(self))
        self._tell(lambda callback: callback.on_start(self))
        stream = prefetch(self.data.batches(self.position))
        self._stream = stream
        try:
            while self.step < self.last_step and not self.stopped:
                self.train_one_step()
        except KeyboardInterrupt:
            if self._sound:
                self.save()
            raise
        finally:
            self._stream = None
            stream.close()
            self._tell(lambda callback: callback.on_end(self))
        self.save()
        return self._finish()

    def _finish(self) -> dict[str, float]:
        """What is done after the last step; returns the last figures."""
        return self.validate()

    def train_one_batch(self, batch: Batch | None = None) -> dict[str, float]:
        """Forward and backward of one batch; weights stay as they are.

        Args:
            batch: the next of the data if None.
        """
        batch = to_device(self._next() if batch is None else batch, self.device)
        self._rate = (self._rate[0], self._rate[1] + count_samples(batch) * self.world)
        with self.optimiser.autocast():
            terms = self.losses(self.network, batch, self.step)
        self.optimiser.backward(terms["loss"])
        return {name: float(value.detach()) for name, value in terms.items()}

    def train_one_step(self, batch: Batch | None = None) -> dict[str, float]:
        """One step of the optimiser, and whatever is due after it.

        Args:
            batch: the next of the data if None; where gradients are accumulated, all next.

        Returns:
            The losses, means over the accumulated batches and over all processes.
        """
        started = time.monotonic()
        count = self.optimiser.config.accumulate
        if batch is not None and count > 1:
            raise OptionError("one batch is no step where gradients are accumulated; give None")
        # A batch norm that saw a NaN would hand it to its running mean, which never forgets.
        buffers = [buffer.detach().clone() for buffer in self.model.buffers()]
        try:
            parts = [self.train_one_batch(batch) for _ in range(count)]
        except BaseException:
            self._put_back(buffers)
            self.optimiser.forget()
            raise
        terms = {name: fmean(part[name] for part in parts) for name in parts[0]}
        terms = mean_of_processes(terms, self.device)
        self._sound = False
        moved = self.optimiser.step()
        if not moved:
            self._put_back(buffers)
        self.step += 1
        self.position += count if batch is None else 0
        self._sound = True
        if not moved:
            self._after_bad_step()
        self._recent.append(terms)
        spent = time.monotonic() - started
        self.seconds, self._rate = self.seconds + spent, (self._rate[0] + spent, self._rate[1])
        self._after_step(terms)
        return terms

    def validate(self) -> dict[str, float]:
        """Figures of the averaged weights; empty where there is no validation."""
        if self.validator is None:
            return {}
        with self.lent(self.average) as model, torch.inference_mode():
            figures = dict(self.validator(model))
        self._tell(lambda callback: callback.on_validate(self, figures))
        return figures

    @contextmanager
    def lent(self, weights: State) -> Iterator[nn.Module]:
        """The model with other weights, in evaluation mode, for the time of a block."""
        current = copy_state(self.model)
        self.model.load_state_dict(weights)
        self.model.eval()
        try:
            yield self.model
        finally:
            self.model.load_state_dict(current)
            self.model.train()

    def save(self) -> Path | None:
        """Write a checkpoint, and return where; None without a folder or in a second process."""
        state = states.capture(self)
        if not self.optimiser.skipped:
            self._keep_good(state)
        if self.folder is None or self.rank:
            return None
        self._make_folder()
        path = self.folder / states.NAME
        states.write_checkpoint(path, state, self.every.keep)
        if self.every.snapshot and self.step % self.every.snapshot == 0:
            states.write_snapshot(self.folder, state)
        self._tell(lambda callback: callback.on_save(self, path))
        return path

    def resume(self) -> bool:
        """Take up the checkpoint of the folder; False where there is none.

        Raises:
            TrainingError: it is damaged, or belongs to another model.
        """
        path = None if self.folder is None else self.folder / states.NAME
        if path is None or not path.is_file():
            return False
        states.restore(self, states.read_checkpoint(path), str(path))
        self.rewind()
        return True

    def rewind(self) -> None:
        """Draw the next batch from ``position`` again, whatever was drawn since."""
        self._stream = None
        self._rate = (0.0, 0)

    def stop(self, why: str) -> None:
        """End the run after this step."""
        self.stopped = why
        log.info("%s: stopped at step %d: %s", self.name, self.step, why)

    def _target(self, steps: int | None, epochs: int | None) -> int:
        if (steps is None) == (epochs is None):
            raise OptionError("give steps or epochs, one of the two")
        if steps is not None:
            return steps
        length = getattr(self.data, "per_epoch", None)
        if length is None:
            raise OptionError("these data have no epochs; give steps")
        per_step = self.optimiser.config.accumulate
        return math.ceil(int(epochs or 0) * int(length) / per_step)

    def _next(self) -> Batch:
        if self._stream is None:
            self._stream = self.data.batches(self.position)
        batch = next(self._stream, None)
        if batch is None:
            raise TrainingError(f"{self.name}: the data end at step {self.step}")
        return batch

    def _put_back(self, buffers: list[Tensor]) -> None:
        for buffer, before in zip(self.model.buffers(), buffers, strict=True):
            buffer.detach().copy_(before)

    def _after_bad_step(self) -> None:
        log.warning("%s: step %d: gradient is not finite, step skipped", self.name, self.step)
        # A scale that is still being found overflows now and then; that is no trouble.
        if self.optimiser.config.precision == "fp16" and self.optimiser.scaler.get_scale() > 1:
            return
        if self.optimiser.skipped < BAD_IN_A_ROW:
            return
        self._rolled_back += 1
        where = f"; the last checkpoint is in {self.folder}" if self.folder else ""
        if self._good is None or self._rolled_back > ROLL_BACKS:
            raise TrainingError(
                f"{self.name}: three non-finite gradients in a row at step {self.step}{where}; "
                "look at the data, or lower the learning rate and resume"
            )
        log.warning("%s: back to the weights of step %d", self.name, self._good.notes["step"])
        states.restore_weights(self, self._good, "the last good state")

    def _keep_good(self, state: states.Checkpoint) -> None:
        if state.is_finite:
            if self._good is not None and self.step > self._good.notes["step"]:
                self._rolled_back = 0
            self._good = state

    def _after_step(self, terms: dict[str, float]) -> None:
        self._tell(lambda callback: callback.on_step(self, terms))
        if self.step % self.every.log == 0:
            self._record()
        if self.every.validate and self.step % self.every.validate == 0:
            self._note(self.validate())
        snapshot = self.every.snapshot and self.step % self.every.snapshot == 0
        if self.step % self.every.save == 0 or snapshot:
            self.save()

    def _record(self) -> None:
        """Note the mean losses of the steps since the last record whose loss was finite."""
        kept = [terms for terms in self._recent if math.isfinite(terms["loss"])]
        means = {name: fmean(terms[name] for terms in kept) for name in (kept[0] if kept else ())}
        spent, images = self._rate
        self._recent, self._rate = [], (0.0, 0)
        self.curve.append({"step": self.step, "seconds": round(self.seconds, 1), **means})
        speed = images / spent if spent else math.nan
        row = {**self.curve[-1], "lr": self.optimiser.lr, "images_per_second": speed}
        if self._metrics:
            self._metrics.add(row)
        self._tell(lambda callback: callback.on_record(self, row))

    def _note(self, figures: dict[str, float]) -> None:
        log.info("step %d: %s", self.step, json.dumps(figures))
        named = {f"val_{name}": value for name, value in figures.items()}
        if not self.curve or self.curve[-1]["step"] != self.step:
            self.curve.append({"step": self.step, "seconds": round(self.seconds, 1)})
        self.curve[-1].update(named)
        if self._metrics:
            self._metrics.add({"step": self.step, "seconds": round(self.seconds, 1), **named})

    def _open_metrics(self, fresh: bool) -> None:
        if self.folder is not None and not self.rank:
            self._make_folder()
            self._metrics = MetricsFile(self.folder / METRICS, self.step, fresh)

    def _make_folder(self) -> None:
        try:
            cast(Path, self.folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot be made: {error.strerror}") from error

    def _tell(self, what: Callable[[Callback], None]) -> None:
        for callback in self.callbacks:
            what(callback)
