"""Recipes: one TOML file says all that a training run depends on."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from featflow.errors import RecipeError
from featflow.train.tables import override, read_toml, refuse_unknown, sub_table

Made = TypeVar("Made")

_NODE_ID = re.compile(r"[a-z0-9_]+/[A-Za-z0-9_]+")
_LEAST = {"steps": 1, "batch_size": 1, "save_every": 1}


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
        stop: end after this many steps, before the schedule of ``steps`` does; 0 never.
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
    stop: int = 0


@dataclass(frozen=True, slots=True)
class Recipe:
    """One training run.

    Attributes:
        node: ``kind/name`` of the node that is trained.
        seed: of weights, data order and augmentation.
        optim: how the weights are fitted.
        model: options of the network.
        data: options of the node's data.
        start: folder of an earlier run that this one goes on from, or a ``.safetensors`` file of
            its weights; empty to begin anew.
        path: the file that it was read from.
    """

    node: str
    seed: int
    optim: Optim
    model: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    start: str = ""
    path: Path | None = None


def read_recipe(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read and check a recipe.

    Args:
        path: TOML file with the tables ``node`` (id, seed), ``optim``, ``model`` and ``data``.
        overrides: dotted key to value, for example ``{"optim.steps": 10}``.

    Raises:
        RecipeError: the file is missing or not TOML, or a key is unknown, missing or has an
            unusable value; the message names the file and the key.
    """
    path = Path(path)
    tables = read_toml(path)
    override(path, tables, overrides or {})
    refuse_unknown(path, "the recipe", tables, {"node", "optim", "model", "data"})
    node = sub_table(path, tables, "node")
    refuse_unknown(path, "[node]", node, {"id", "seed", "start"})
    node_id = node.get("id")
    if not isinstance(node_id, str) or not _NODE_ID.fullmatch(node_id):
        raise RecipeError(f"{path}: [node] id must be like 'landmark/tiny', got {node_id!r}")
    return Recipe(
        node=node_id,
        seed=int(_number(path, "[node] seed", node.get("seed", 0), whole=True)),
        optim=_optim(path, sub_table(path, tables, "optim")),
        model=sub_table(path, tables, "model"),
        data=sub_table(path, tables, "data"),
        start=str(node.get("start", "")),
        path=path,
    )


def build_model(recipe: Recipe, make: Callable[..., Made], *arguments: Any) -> Made:
    """Call ``make`` with the recipe's ``[model]`` options after the arguments.

    Raises:
        RecipeError: ``make`` has no such option.
    """
    try:
        inspect.signature(make).bind(*arguments, **recipe.model)
    except TypeError as error:
        raise RecipeError(f"{recipe.path}: [model]: {error}") from error
    return make(*arguments, **recipe.model)


def data_root(recipe: Recipe, *others: str) -> str:
    """``[data] root``; ``others`` are the options that the node's data have besides.

    Raises:
        RecipeError: it is missing, or an unknown key is there.
    """
    path = recipe.path or Path(recipe.node)
    refuse_unknown(path, "[data]", recipe.data, {"root", *others})
    root = recipe.data.get("root")
    if not isinstance(root, str):
        raise RecipeError(f"{path}: [data] root must name the folder of the data, got {root!r}")
    return root


def _optim(path: Path, table: Mapping[str, Any]) -> Optim:
    refuse_unknown(path, "[optim]", table, {f.name for f in fields(Optim)})
    values: dict[str, Any] = {}
    for each in fields(Optim):
        key = f"[optim] {each.name}"
        if each.name in table:
            whole, least = each.type == "int", _LEAST.get(each.name, 0)
            values[each.name] = _number(path, key, table[each.name], whole=whole, least=least)
        elif each.default is MISSING:
            raise RecipeError(f"{path}: {key} is missing")
    if not values.get("ema", 0.0) < 1:
        raise RecipeError(f"{path}: [optim] ema must be below 1, got {values['ema']}")
    return Optim(**values)


def _number(path: Path, key: str, value: Any, *, whole: bool, least: int = 0) -> float:
    usable = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not usable or not math.isfinite(value) or value < least:
        kind = "a whole number" if whole else "a number"
        raise RecipeError(f"{path}: {key} must be {kind}, at least {least}, got {value!r}")
    return int(value) if whole else float(value)
