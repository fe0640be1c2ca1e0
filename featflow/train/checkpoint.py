"""Checkpoints: everything that a run needs to go on, written atomically as safetensors."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from featflow.errors import TrainingError
from featflow.files import atomic_path, output_error, write_atomically

if TYPE_CHECKING:
    from featflow.train.trainer import Trainer

NAME = "checkpoint.safetensors"
SNAPSHOTS = "snapshots"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a run.

    Attributes:
        tensors: weights, averages, moments, norms, random state.
        notes: everything else, as JSON takes it.
    """

    tensors: dict[str, Tensor]
    notes: dict[str, Any]

    @property
    def is_finite(self) -> bool:
        """Whether no weight is NaN or infinite."""
        weights = part(self.tensors, "model.").values()
        return all(bool(torch.isfinite(w).all()) for w in weights if w.is_floating_point())


def capture(trainer: Trainer) -> Checkpoint:
    """A copy of a trainer's state."""
    optimiser = trainer.optimiser
    tensors: dict[str, Tensor] = {"rng.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    for name, value in trainer.model.state_dict().items():
        tensors[f"model.{name}"] = value
    for name, value in (optimiser.average.weights if optimiser.average else {}).items():
        tensors[f"average.{name}"] = value
    for index, moments in optimiser.torch.state_dict()["state"].items():
        for name, value in moments.items():
            if value is not None:
                tensors[f"optimiser.{index}.{name}"] = torch.as_tensor(value)
    tensors |= {f"clip.{k}": v for k, v in optimiser.clip.state_dict().items()}
    notes = {
        "node": trainer.name,
        "step": trainer.step,
        "position": trainer.position,
        "seconds": trainer.seconds,
        "curve": trainer.curve,
        "optimiser": {
            "name": optimiser.config.name,
            "scheduler": optimiser.scheduler.state_dict(),
            "scaler": optimiser.scaler.state_dict(),
            "averaged": optimiser.average.count if optimiser.average else 0,
        },
        "callbacks": {c.name: s for c in trainer.callbacks if (s := c.state_dict())},
        **trainer.extra,
    }
    copied = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    return Checkpoint(copied, json.loads(json.dumps(notes)))


def write_checkpoint(path: Path, checkpoint: Checkpoint, keep: int = 1) -> None:
    """Write a state whole or not at all.

    Args:
        path: file to write or replace.
        checkpoint: what to write.
        keep: states to keep; older ones are named ``<name>.1.safetensors``, ``.2``, ...

    Raises:
        OutputError: it cannot be written; what was there stays.
    """
    content = save(checkpoint.tensors, {"featflow": json.dumps(checkpoint.notes)})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
        _rotate(path, keep)


def _rotate(path: Path, keep: int) -> None:
    """Give the present file an older name beside its own, so that it is there at any moment."""
    older = [path.with_name(f"{path.stem}.{age}{path.suffix}") for age in range(1, keep)]
    for newer, old in reversed(list(pairwise(older))):
        if newer.is_file():
            os.replace(newer, old)
    if older and path.is_file():
        link = path.with_name(f".{path.name}.link.tmp")
        link.unlink(missing_ok=True)
        try:
            os.link(path, link)
        except OSError:  # a file system without links
            shutil.copyfile(path, link)
        os.replace(link, older[0])


def write_snapshot(folder: Path, checkpoint: Checkpoint) -> Path:
    """Keep a state for good, as ``snapshots/step-00002500.safetensors``."""
    path = folder / SNAPSHOTS / f"step-{checkpoint.notes['step']:08}.safetensors"
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise output_error(path, error) from error
    write_atomically(path, save(checkpoint.tensors, {"featflow": json.dumps(checkpoint.notes)}))
    return path


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a state.

    Raises:
        TrainingError: the file is missing or damaged; the message names an older one if there is.
    """
    try:
        with safe_open(path, "pt") as file:
            notes = json.loads(file.metadata()["featflow"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if not {"node", "step"} <= notes.keys():
            raise KeyError("node, step")
    except Exception as error:
        older = path.with_name(f"{path.stem}.1{path.suffix}")
        hint = f"; the one before it is {older.name}" if older.is_file() else ""
        raise TrainingError(
            f"{path}: cannot resume from this checkpoint: {error or type(error).__name__}{hint}"
        ) from error
    return Checkpoint(tensors, notes)


def restore(trainer: Trainer, checkpoint: Checkpoint, source: str) -> None:
    """Put a trainer back to a state.

    Args:
        trainer: of the same model and optimiser.
        checkpoint: the state.
        source: where it comes from, for messages.

    Raises:
        TrainingError: it belongs to another model or optimiser.
    """
    restore_weights(trainer, checkpoint, source)
    notes, tensors = checkpoint.notes, checkpoint.tensors
    trainer.step, trainer.seconds = int(notes["step"]), float(notes.get("seconds", 0.0))
    trainer.position = int(
        notes.get("position", trainer.step * trainer.optimiser.config.accumulate)
    )
    trainer.curve = list(notes.get("curve", []))
    trainer.extra = {key: notes.get(key, value) for key, value in trainer.extra.items()}
    for callback in trainer.callbacks:
        if (state := notes.get("callbacks", {}).get(callback.name)) is not None:
            callback.load_state_dict(state)
    if "rng.cpu" in tensors:
        torch.set_rng_state(tensors["rng.cpu"])
    if "rng.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["rng.cuda"])


def restore_weights(trainer: Trainer, checkpoint: Checkpoint, source: str) -> None:
    """Put weights and optimiser back, and leave step, data and random state as they are.

    Raises:
        TrainingError: the state belongs to another model or optimiser.
    """
    notes, tensors, optimiser = checkpoint.notes, checkpoint.tensors, trainer.optimiser
    if notes["node"] != trainer.name:
        raise TrainingError(f"{source}: is of {notes['node']}, not {trainer.name}")
    noted = notes.get("optimiser", {})
    if noted.get("name", optimiser.config.name) != optimiser.config.name:
        raise TrainingError(f"{source}: was fitted by {noted['name']}, not {optimiser.config.name}")
    # Checkpoints of before there were schedules in them took one step of the schedule a step.
    steps = int(notes["step"])
    averages = part(tensors, "average.")
    average = {"weights": averages, "count": noted.get("averaged", steps)} if averages else None
    try:
        trainer.model.load_state_dict(part(tensors, "model."))
        optimiser.load_state_dict(
            {
                "torch": {**optimiser.torch.state_dict(), "state": _moments(tensors)},
                "scheduler": noted.get(
                    "scheduler", {"count": steps, "peaks": optimiser.scheduler.peaks}
                ),
                "clip": {"norms": tensors.get("clip.norms", torch.zeros(0))},
                "scaler": noted.get("scaler", {}),
                "average": average,
                "skipped": 0,
            }
        )
        optimiser.to(trainer.device)
    except Exception as error:
        raise TrainingError(f"{source}: cannot resume from this checkpoint: {error}") from error


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Tensors whose names begin with a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _moments(tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Any]]:
    state: dict[int, dict[str, Any]] = {}
    for key, value in part(tensors, "optimiser.").items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    return state
