"""``featflow train``: from a recipe to shipped weights and a record of how they came about."""

from __future__ import annotations

import importlib
import json
import math
import platform
from pathlib import Path
from typing import Any

import torch

from featflow.errors import RecipeError
from featflow.files import write_atomically
from featflow.train.callbacks import Callback
from featflow.train.distributed import rank_and_world
from featflow.train.export import export_weights
from featflow.train.loop import NodeTrainer, Tell
from featflow.train.recipe import Recipe
from featflow.train.task import Task


def build_task(recipe: Recipe) -> Task:
    """The task of the node that a recipe names.

    Raises:
        RecipeError: no built-in node of that name can be trained.
    """
    wanted = f"featflow.nodes.{recipe.node.replace('/', '.')}.training"
    try:
        module = importlib.import_module(wanted)
    except ModuleNotFoundError as error:
        if not f"{wanted}.".startswith(f"{error.name}."):
            raise  # a library that the training code needs
        raise RecipeError(f"{recipe.node!r} is not a node that featflow can train") from error
    task: Task = module.build_task(recipe)
    return task


def train(
    recipe: Recipe,
    work: Path,
    *,
    resume: bool = False,
    report: Tell | None = None,
    callbacks: tuple[Callback, ...] = (),
    ship: bool = True,
) -> dict[str, Any]:
    """Fit the recipe's node; write its weights and ``results.json``.

    Args:
        recipe: what to train and how.
        work: folder for checkpoints, made if absent.
        resume: go on from the checkpoint in ``work``.
        report: called now and then with the step and the loss terms.
        callbacks: others who are told of the run.
        ship: put the weights into the package and the record beside the recipe; otherwise both
            go to ``work`` and the shipped node stays as it is.

    Returns:
        What was written to ``results.json``.
    """
    work.mkdir(parents=True, exist_ok=True)
    task = build_task(recipe)
    trainer = NodeTrainer(task, recipe, work, report, callbacks)
    figures = trainer.run(resume)
    if rank_and_world()[0]:
        return {"node": recipe.node, "training": {"validation": figures}}
    weights = export_weights(recipe.node, trainer.shipped, None if ship else work)
    results = {
        "node": recipe.node,
        "training": {
            "seed": recipe.seed,
            "data_version": task.data_version,
            "steps": trainer.step,
            "batch_size": recipe.optim.batch_size,
            "seconds": round(trainer.seconds),
            "torch": torch.__version__,
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
            "parameters": sum(p.numel() for p in task.model.parameters()),
            **weights,
            **({"started_from": trainer.earlier} if trainer.earlier else {}),
            "validation": figures,
            "curve": trainer.curve,
        },
    }
    folder = recipe.path.parent if ship and recipe.path is not None else work
    if recipe.path is not None:
        text = json.dumps(_without_nan(results), indent=1, allow_nan=False) + "\n"
        write_atomically(folder / "results.json", text.encode())
    return results


def _without_nan(value: Any) -> Any:
    """The same record with null for numbers that JSON cannot hold."""
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
