"""Checkpoints: everything that a run needs to go on, written atomically as safetensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from featflow.errors import TrainingError
from featflow.files import write_atomically

if TYPE_CHECKING:
    from featflow.train.loop import Trainer

NAME = "checkpoint.safetensors"


def save_checkpoint(trainer: Trainer, folder: Path) -> Path:
    """Write weights, averages, optimiser moments, step and loss curve to ``folder``."""
    tensors: dict[str, Tensor] = {}
    for name, value in trainer.task.model.state_dict().items():
        tensors[f"model.{name}"] = value
    for name, value in trainer.average.items():
        tensors[f"average.{name}"] = value
    for index, moments in trainer.optimiser.state_dict()["state"].items():
        for name, value in moments.items():
            tensors[f"optimiser.{index}.{name}"] = value
    notes = {
        "node": trainer.recipe.node,
        "step": trainer.step,
        "seconds": trainer.seconds,
        "curve": trainer.curve,
        "earlier": trainer.earlier,
    }
    contiguous = {k: v.detach().contiguous().clone() for k, v in tensors.items()}
    path = folder / NAME
    write_atomically(path, save(contiguous, {"featflow": json.dumps(notes)}))
    return path


def load_checkpoint(trainer: Trainer, folder: Path) -> None:
    """Put a trainer back to where :func:`save_checkpoint` left it; no file is a fresh start.

    Raises:
        TrainingError: the checkpoint is damaged or belongs to another network.
    """
    path = folder / NAME
    if not path.is_file():
        return
    try:
        with safe_open(path, "pt") as file:
            notes = json.loads(file.metadata()["featflow"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if notes["node"] != trainer.recipe.node:
            raise TrainingError(f"{path}: is of {notes['node']}, not {trainer.recipe.node}")
        trainer.task.model.load_state_dict(_part(tensors, "model."))
        trainer.average = _part(tensors, "average.")
        trainer.optimiser.load_state_dict(
            {**trainer.optimiser.state_dict(), "state": _moments(tensors)}
        )
    except TrainingError:
        raise
    except Exception as error:
        raise TrainingError(f"{path}: cannot resume from this checkpoint: {error}") from error
    trainer.step, trainer.seconds = int(notes["step"]), float(notes["seconds"])
    trainer.curve = notes["curve"]
    trainer.earlier = notes.get("earlier", {})


def start_from(trainer: Trainer, folder: Path) -> None:
    """Take weights, averages and moments of an earlier run, and begin at step 0.

    Raises:
        TrainingError: there is no checkpoint, or it belongs to another network.
    """
    if not (folder / NAME).is_file():
        raise TrainingError(
            f"{folder / NAME}: no such checkpoint; train the recipe that this one starts from first"
        )
    load_checkpoint(trainer, folder)
    before = {"started_from": trainer.earlier} if trainer.earlier else {}
    trainer.earlier = {
        "steps": trainer.step,
        "seconds": round(trainer.seconds),
        **before,
        "curve": trainer.curve,
    }
    trainer.step, trainer.seconds, trainer.curve = 0, 0.0, []


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _moments(tensors: dict[str, Tensor]) -> dict[int, dict[str, Any]]:
    state: dict[int, dict[str, Any]] = {}
    for key, value in _part(tensors, "optimiser.").items():
        index, name = key.split(".")
        state.setdefault(int(index), {})[name] = torch.as_tensor(value)
    return state
