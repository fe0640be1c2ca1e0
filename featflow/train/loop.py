"""The training loop: fit a task by its recipe, resume after a crash, keep a record."""

from __future__ import annotations

import json
import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from featflow.errors import TrainingError
from featflow.train.average import copy_state, early_decay, follow
from featflow.train.checkpoint import NAME, load_checkpoint, save_checkpoint, start_from
from featflow.train.optim import decay_groups
from featflow.train.recipe import Optim, Recipe
from featflow.train.schedule import Schedule
from featflow.train.task import Finishing, Task

log = logging.getLogger("featflow.train")

Report = Callable[[int, Mapping[str, float]], None]


class Trainer:
    """Fits one task.

    The averaged weights (``ema``) are what is validated and shipped. A non-finite gradient is
    seen before the step: the step is skipped, and three in a row end the run.

    Args:
        task: network, data and loss.
        recipe: how to fit it.
        folder: where checkpoints go.
        report: called with the step and the mean loss terms every 50 steps.
    """

    def __init__(
        self, task: Task, recipe: Recipe, folder: Path, report: Report | None = None
    ) -> None:
        self.task, self.recipe, self.folder = task, recipe, folder
        self.report = report
        optim = recipe.optim
        self.optimiser = torch.optim.AdamW(
            decay_groups(task.model, optim.weight_decay), lr=optim.lr, betas=(0.9, 0.99)
        )
        self.average = copy_state(task.model)
        self.step = 0
        self.seconds = 0.0
        self.curve: list[dict[str, float]] = []
        self.earlier: dict[str, Any] = {}
        self._bad_in_a_row = 0
        self._recent: list[dict[str, float]] = []

    def fit(self, resume: bool = False) -> dict[str, float]:
        """Train to the recipe's last step and return the last validation.

        Raises:
            TrainingError: the checkpoint cannot be used, the data end, or three gradients in a
                row are not finite.
        """
        if self.recipe.start and not (resume and (self.folder / NAME).is_file()):
            start_from(self, Path(self.recipe.start))
        if resume:
            load_checkpoint(self, self.folder)
        optim = self.recipe.optim
        last = min(optim.steps, optim.stop or optim.steps)
        self.task.model.train()
        started, spent = time.monotonic(), self.seconds
        # A resumed run draws fresh batches: the seed is moved on by the step it resumes from.
        with closing(prefetch(self.task.batches(self.recipe.seed + self.step))) as batches:
            while self.step < last:
                self._recent.append(self.train_one_step(self._next(batches)))
                self.seconds = spent + time.monotonic() - started
                if self.step % 50 == 0:
                    self._record()
                if self.step % optim.save_every == 0:
                    save_checkpoint(self, self.folder)
                if optim.validate_every and self.step % optim.validate_every == 0:
                    self._note(self.validate())
        save_checkpoint(self, self.folder)
        finished = self._finish()
        return {**self.validate(), **finished}

    def _next(self, batches: Iterator[Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
        batch = next(batches, None)
        if batch is None:
            raise TrainingError(f"{self.recipe.node}: the data end at step {self.step}")
        return batch

    def train_one_step(self, batch: Mapping[str, Tensor]) -> dict[str, float]:
        """One forward, backward and (if the gradient is finite) optimiser step."""
        optim = self.recipe.optim
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(optim, self.step)
        self.optimiser.zero_grad(set_to_none=True)
        buffers = [b.detach().clone() for b in self.task.model.buffers()]
        terms = self.task.loss(self.task.model, batch, self.step)
        terms["loss"].backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.task.model.parameters(), optim.clip)
        if torch.isfinite(norm):
            self.optimiser.step()
            follow(self.average, self.task.model, early_decay(optim.ema, self.step))
            self._bad_in_a_row = 0
        else:
            self._skip_bad_step(buffers)
        self.step += 1
        return {name: float(value.detach()) for name, value in terms.items()}

    def validate(self) -> dict[str, float]:
        """Figures of the averaged weights."""
        with self._averaged() as model, torch.inference_mode():
            return self.task.validate(model)

    def _finish(self) -> dict[str, float]:
        """The task's last word on the averaged weights; checkpoints keep them as trained."""
        if not isinstance(self.task, Finishing):
            return {}
        with self._averaged() as model, torch.no_grad():
            found = self.task.finish(model)
            self.average = copy_state(model)
        return found

    @contextmanager
    def _averaged(self) -> Iterator[nn.Module]:
        """The model with its averaged weights, in evaluation mode, for the time of a block."""
        model = self.task.model
        current = copy_state(model)
        model.load_state_dict(self.average)
        model.eval()
        try:
            yield model
        finally:
            model.load_state_dict(current)
            model.train()

    def _skip_bad_step(self, buffers: list[Tensor]) -> None:
        self._bad_in_a_row += 1
        # A batch norm that saw a NaN would hand it to its running mean, which never forgets.
        for buffer, before in zip(self.task.model.buffers(), buffers, strict=True):
            buffer.detach().copy_(before)
        log.warning("step %d: gradient is not finite, step skipped", self.step)
        if self._bad_in_a_row >= 3:
            raise TrainingError(
                f"{self.recipe.node}: three non-finite gradients in a row at step {self.step}; "
                f"the last checkpoint is in {self.folder}; lower [optim] lr and resume"
            )

    def _record(self) -> None:
        """Note the mean terms of the steps since the last record whose loss was finite."""
        kept = [terms for terms in self._recent if math.isfinite(terms["loss"])]
        self._recent = []
        means = {name: fmean(terms[name] for terms in kept) for name in (kept[0] if kept else ())}
        self.curve.append({"step": self.step, "seconds": round(self.seconds, 1), **means})
        if self.report:
            self.report(self.step, means)

    def _note(self, figures: dict[str, float]) -> None:
        log.info("step %d: %s", self.step, json.dumps(figures))
        if not self.curve or self.curve[-1]["step"] != self.step:
            self.curve.append({"step": self.step, "seconds": round(self.seconds, 1)})
        self.curve[-1].update({f"val_{k}": v for k, v in figures.items()})


def learning_rate(optim: Optim, step: int) -> float:
    """Linear warm-up, then half a cosine down to ``lr_end`` of the peak."""
    return optim.lr * Schedule("cosine", optim.steps, optim.warmup, optim.lr_end).factor(step)


def prefetch(
    batches: Iterator[Mapping[str, Tensor]], depth: int = 4
) -> Generator[Mapping[str, Tensor]]:
    """Draw batches in a thread of their own, ``depth`` ahead; its errors surface here.

    Closing the generator ends the thread.
    """
    ready: queue.Queue[Mapping[str, Tensor] | BaseException | None] = queue.Queue(depth)
    stop = threading.Event()

    def draw() -> None:
        try:
            for batch in batches:
                if not _put(ready, batch, stop):
                    return
            _put(ready, None, stop)
        except BaseException as error:  # noqa: BLE001 - handed to the consumer, who raises it
            _put(ready, error, stop)

    thread = threading.Thread(target=draw, name="featflow-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item = ready.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()


def _put(ready: queue.Queue[Any], item: object, stop: threading.Event) -> bool:
    while not stop.is_set():
        try:
            ready.put(item, timeout=0.1)
        except queue.Full:
            continue
        return True
    return False
