"""Training of nodes: a task and a recipe, given to the trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from featflow.errors import TrainingError
from featflow.nodes._weights import load_weights, weights_hash
from featflow.train import checkpoint as states
from featflow.train.average import State, copy_state
from featflow.train.callbacks import Callback, Report
from featflow.train.distributed import rank_and_world
from featflow.train.feed import Batch
from featflow.train.optim import OptimConfig
from featflow.train.recipe import Optim, Recipe
from featflow.train.task import Finishing, Task
from featflow.train.trainer import Intervals, Trainer

Tell = Callable[[int, Mapping[str, float]], None]

_BETWEEN_RANKS = 1_000_003


class TaskData:
    """Batches of a task. A run that resumes draws fresh ones: its seed is moved on by the step.

    Args:
        task: gives endless batches by seed.
        seed: of the run; processes that train together draw different batches.
    """

    def __init__(self, task: Task, seed: int) -> None:
        self.task = task
        self.seed = seed + _BETWEEN_RANKS * rank_and_world()[0]

    def batches(self, start: int) -> Iterator[Batch]:
        """Endless batches."""
        return self.task.batches(self.seed + start)


class NodeTrainer(Trainer):
    """Fits one task by its recipe.

    The averaged weights (``ema``) are what is validated and shipped.

    Args:
        task: network, data and loss.
        recipe: how to fit it.
        folder: where checkpoints and metrics go.
        report: called with the step and the mean loss terms every 50 steps.
        callbacks: others who are told of the run.

    Attributes:
        shipped: weights to ship, after :meth:`run`.
    """

    def __init__(
        self,
        task: Task,
        recipe: Recipe,
        folder: Path,
        report: Tell | None = None,
        callbacks: tuple[Callback, ...] = (),
    ) -> None:
        self.task, self.recipe = task, recipe
        optim = recipe.optim
        super().__init__(
            task.model,
            TaskData(task, recipe.seed),
            task.loss,
            optimiser_of(optim),
            validate=task.validate,
            folder=folder,
            every=Intervals(validate=optim.validate_every, save=optim.save_every, keep=1),
            callbacks=[*((Report(report),) if report else ()), *callbacks],
            name=recipe.node,
        )
        self.extra = {"earlier": {}}
        self.shipped: State = {}

    @property
    def earlier(self) -> dict[str, Any]:
        """What is known of the run that this one started from; empty where there is none."""
        return dict(self.extra["earlier"])

    def run(self, resume: bool = False) -> dict[str, float]:
        """Train to the recipe's last step and return the last validation.

        Raises:
            TrainingError: see :meth:`Trainer.fit`.
        """
        folder, optim = Path(self.folder or "."), self.recipe.optim
        if self.recipe.start and not (resume and (folder / states.NAME).is_file()):
            self.start_from(Path(self.recipe.start))
        return self.fit(min(optim.steps, optim.stop or optim.steps), resume=resume)

    def start_from(self, place: Path) -> None:
        """Take what an earlier run left, and begin at step 0.

        Args:
            place: folder of its checkpoints, which hold weights, averages and moments, or a
                ``.safetensors`` file of weights alone, such as a node ships.

        Raises:
            TrainingError: there is no checkpoint, or it belongs to another network.
            WeightsError: the file of weights cannot be read, or belongs to another network.
        """
        if place.suffix == ".safetensors":
            self._start_from_weights(place)
            return
        path = place / states.NAME
        if not path.is_file():
            raise TrainingError(
                f"{path}: no such checkpoint; train the recipe that this one starts from first"
            )
        states.restore(self, states.read_checkpoint(path), str(path))
        before = {"started_from": self.earlier} if self.earlier else {}
        self.extra["earlier"] = {
            "steps": self.step,
            "seconds": round(self.seconds),
            **before,
            "curve": self.curve,
        }
        self.step = self.position = 0
        self.seconds, self.curve = 0.0, []
        peaks = [self.recipe.optim.lr] * len(self.optimiser.scheduler.peaks)
        self.optimiser.scheduler.load_state_dict({"count": 0, "peaks": peaks})
        if self.optimiser.average is not None:
            self.optimiser.average.count = 0

    def _start_from_weights(self, path: Path) -> None:
        load_weights(self.model, path)
        if self.optimiser.average is not None:
            self.optimiser.average.weights = copy_state(self.model)
        self.extra["earlier"] = {"weights": str(path), "sha256": weights_hash(path)}

    def _finish(self) -> dict[str, float]:
        """The task's last word on the averaged weights; checkpoints keep them as trained."""
        found: dict[str, float] = {}
        self.shipped = {name: value.clone() for name, value in self.average.items()}
        if isinstance(self.task, Finishing):
            with self.lent(self.average) as model, torch.no_grad():
                found = self.task.finish(model)
                self.shipped = copy_state(model)
        with self.lent(self.shipped) as model, torch.inference_mode():
            figures = self.task.validate(model)
        return {**figures, **found}


def optimiser_of(optim: Optim) -> OptimConfig:
    """The optimiser that a recipe's ``[optim]`` names: AdamW, warm-up, half a cosine."""
    return OptimConfig(
        name="adamw",
        lr=optim.lr,
        betas=(0.9, 0.99),
        eps=1e-8,
        weight_decay=optim.weight_decay,
        clip="global_norm" if optim.clip else "none",
        clip_value=optim.clip or 1.0,
        schedule="cosine",
        steps=optim.steps,
        warmup=optim.warmup,
        lr_end=optim.lr_end,
        ema=optim.ema,
    )
