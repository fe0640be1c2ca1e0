"""Recipes: one TOML file says all that a training run depends on."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from featflow.errors import RecipeError


@dataclass(frozen=True, slots=True)
class Optim:
    """How the weights are fitted.

    Attributes:
        steps: optimiser steps.
        batch_size: samples a step.
        lr: peak learning rate, reached after ``warmup`` steps, then a cosine down to ``lr_end``.
        lr_end: last learning rate as a part of ``lr``.
        warmup: steps of linear warm-up.
        weight_decay: decoupled decay (AdamW) of weights with two or more dimensions.
        clip: bound on the norm of the gradient.
        ema: decay of the averaged weights, which are what ships.
        validate_every: steps between validations; 0 validates at the end only.
        save_every: steps between checkpoints.
    """

    steps: int
    batch_size: int
    lr: float = 1e-3
    lr_end: float = 0.01
    warmup: int = 200
    weight_decay: float = 0.01
    clip: float = 5.0
    ema: float = 0.998
    validate_every: int = 0
    save_every: int = 500


@dataclass(frozen=True, slots=True)
class Recipe:
    """One training run.

    Attributes:
        node: ``kind/name`` of the node that is trained.
        seed: of weights, data order and augmentation.
        optim: how the weights are fitted.
        model: options of the network.
        data: options of the node's data.
        path: the file that it was read from.
    """

    node: str
    seed: int
    optim: Optim
    model: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None


def read_recipe(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read and check a recipe.

    Args:
        path: TOML file with the tables ``node`` (id, seed), ``optim``, ``model`` and ``data``.
        overrides: dotted key to value, for example ``{"optim.steps": 10}``.

    Raises:
        RecipeError: the file is missing or not TOML, or a key is unknown or missing.
    """
    path = Path(path)
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path}: cannot read the recipe: {error}") from error
    for key, value in (overrides or {}).items():
        table, _, name = key.partition(".")
        if not name:
            raise RecipeError(f"{key!r}: write table.key=value, for example optim.steps=100")
        tables.setdefault(table, {})[name] = value
    _refuse_unknown(path, "the recipe", tables, {"node", "optim", "model", "data"})
    node = tables.get("node", {})
    _refuse_unknown(path, "[node]", node, {"id", "seed"})
    if "id" not in node:
        raise RecipeError(f"{path}: [node] lacks the key 'id', for example \"landmark/tiny\"")
    return Recipe(
        node=str(node["id"]),
        seed=int(node.get("seed", 0)),
        optim=_optim(path, tables.get("optim", {})),
        model=tables.get("model", {}),
        data=tables.get("data", {}),
        path=path,
    )


def _optim(path: Path, table: Mapping[str, Any]) -> Optim:
    _refuse_unknown(path, "[optim]", table, {f.name for f in fields(Optim)})
    try:
        optim = Optim(**table)
    except TypeError as error:
        raise RecipeError(f"{path}: [optim] needs steps and batch_size: {error}") from error
    if optim.steps < 1 or optim.batch_size < 1:
        raise RecipeError(f"{path}: [optim] steps and batch_size must be at least 1")
    return optim


def _refuse_unknown(path: Path, where: str, table: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(table) - known)
    if unknown:
        raise RecipeError(f"{path}: {where} has unknown {unknown}; known: {sorted(known)}")
