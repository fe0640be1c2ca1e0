"""``featflow train``: fit a node by its recipe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from featflow.cli.codes import exits_cleanly
from featflow.cli.console import errors


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train")(exits_cleanly(train))


def train(
    recipe: Path = typer.Argument(..., help="TOML file, such as nodes/pose/mlp/recipe.toml."),
    work: Path | None = typer.Option(
        None, help="Folder for checkpoints. [runs/<kind>-<name>]", show_default=False
    ),
    resume: bool = typer.Option(False, help="Go on from the last checkpoint."),
    changes: list[str] = typer.Option(
        [], "--set", metavar="TABLE.KEY=VALUE", help="Change a value of the recipe."
    ),
    trial: bool = typer.Option(False, help="Leave the shipped node as it is."),
    quiet: bool = typer.Option(False, help="No progress lines."),
) -> None:
    """Train a node by its recipe.

    The weights go into the package and the record beside the recipe. With --set or --trial both go
    to the folder of checkpoints instead: the shipped node is what its recipe says, nothing else.
    """
    from featflow.train.recipe import read_recipe
    from featflow.train.run import train as fit

    read = read_recipe(recipe, dict(_change(text) for text in changes))

    def report(step: int, terms: Mapping[str, float]) -> None:
        if not quiet:
            shown = "  ".join(f"{name} {value:.4f}" for name, value in terms.items())
            errors.print(f"step {step}/{read.optim.steps}  {shown}")

    folder = work or Path("runs") / read.node.replace("/", "-")
    results = fit(read, folder, resume=resume, report=report, ship=not (changes or trial))
    typer.echo(json.dumps(results["training"]["validation"], indent=1))


def _change(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"--set {text}: write TABLE.KEY=VALUE")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
