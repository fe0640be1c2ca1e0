"""Tables of a recipe into frozen dataclasses, with errors that name the key."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from featflow.errors import OptionError, RecipeError

Made = TypeVar("Made")

_NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a recipe.

    Raises:
        RecipeError: the file is missing or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path}: cannot read the recipe: {error}") from error


def override(path: Path, tables: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Change values in place, dotted key to value.

    Raises:
        RecipeError: a key has no table.
    """
    for key, value in changes.items():
        name, _, entry = key.partition(".")
        if not entry:
            raise RecipeError(f"{key!r}: write table.key=value, for example optim.steps=100")
        sub_table(path, tables, name)[entry] = value


def sub_table(path: Path, tables: dict[str, Any], name: str) -> dict[str, Any]:
    """A table of the recipe, made empty where it is absent.

    Raises:
        RecipeError: it is something else.
    """
    table = tables.setdefault(name, {})
    if not isinstance(table, dict):
        raise RecipeError(f"{path}: {name} must be a table [{name}], got {table!r}")
    return table


def refuse_unknown(path: Path, where: str, table: Mapping[str, Any], known: set[str]) -> None:
    """Raise :class:`RecipeError` where a key is not known."""
    unknown = sorted(set(table) - known)
    if unknown:
        raise RecipeError(f"{path}: {where} has unknown {unknown}; known: {sorted(known)}")


def fill(path: Path, name: str, table: Mapping[str, Any], made: type[Made]) -> Made:
    """A dataclass from a table; every value has the type that the dataclass says.

    Raises:
        RecipeError: a key is unknown, missing, of another type, or refused by the dataclass.
    """
    declared = {each.name: each for each in fields(made)}  # type: ignore[arg-type]
    refuse_unknown(path, f"[{name}]", table, set(declared))
    hints = get_type_hints(made)
    values: dict[str, Any] = {}
    for key, each in declared.items():
        if key in table:
            values[key] = _typed(path, f"[{name}] {key}", table[key], hints[key])
        elif each.default is MISSING and each.default_factory is MISSING:
            raise RecipeError(f"{path}: [{name}] {key} is missing")
    try:
        return made(**values)
    except OptionError as error:
        raise RecipeError(f"{path}: [{name}]: {error}") from error


def _typed(path: Path, key: str, value: Any, hint: Any) -> Any:
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise RecipeError(f"{path}: {key} must be one of {get_args(hint)}, got {value!r}")
        return value
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise RecipeError(f"{path}: {key} must be a list, got {value!r}")
        return tuple(_typed(path, key, each, get_args(hint)[0]) for each in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    wrong = type(value) is not hint or (hint is float and not math.isfinite(value))
    if hint in _NAMES and wrong:
        raise RecipeError(f"{path}: {key} must be {_NAMES[hint]}, got {value!r}")
    return value
