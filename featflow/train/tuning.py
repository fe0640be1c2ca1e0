"""Looking before training: one batch on trial, and a search for the learning rate."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from featflow.train.average import copy_state
from featflow.train.lr_finder import LearningRateFinder
from featflow.train.trainer import Trainer


def dry_run(trainer: Trainer) -> dict[str, Any]:
    """Run one batch forwards and backwards, change nothing, and say what was seen.

    Returns:
        ``parameters``, ``seconds`` of the batch, and its ``losses``.
    """
    weights = copy_state(trainer.model)
    started = time.monotonic()
    with torch.random.fork_rng():
        trainer.model.train()
        losses = trainer.train_one_batch()
    seconds = time.monotonic() - started
    _forget(trainer)
    trainer.model.load_state_dict(weights)
    return {
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "seconds": round(seconds, 3),
        "losses": losses,
    }


def find_learning_rate(
    trainer: Trainer, figure: str | Path | None = None, **options: Any
) -> LearningRateFinder:
    """Search for a learning rate with a trainer's own data and losses.

    Weights, optimiser, step and position in the data stay as they are; in the modes that set it,
    the optimiser gets the new rate.

    Args:
        trainer: before its first step.
        figure: PNG of the sweep.
        options: of :class:`featflow.train.lr_finder.LearningRateFinder`.

    Returns:
        The finder; its ``best_lr`` is None where no rate was found.
    """
    accumulate = trainer.optimiser.config.accumulate

    def step() -> float:
        loss = fmean(trainer.train_one_batch()["loss"] for _ in range(accumulate))
        trainer.optimiser.step()
        return loss

    finder = LearningRateFinder(trainer.optimiser, step, figure=figure, **options)
    trainer.model.train()
    finder.find()
    _forget(trainer)
    return finder


def _forget(trainer: Trainer) -> None:
    """Leave no gradient behind, and begin the data again where they were."""
    trainer.optimiser.forget()
    trainer.rewind()
