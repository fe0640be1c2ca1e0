"""``featflow train``: fit a node or a face model by its recipe."""

from __future__ import annotations

import json
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
        None, help="Folder for checkpoints. [runs/<name>]", show_default=False
    ),
    resume: bool = typer.Option(False, help="Go on from the last checkpoint."),
    changes: list[str] = typer.Option(
        [], "--set", metavar="TABLE.KEY=VALUE", help="Change a value of the recipe."
    ),
    trial: bool = typer.Option(False, help="Leave the shipped node as it is."),
    quiet: bool = typer.Option(False, help="No progress lines."),
    dry_run: bool = typer.Option(False, help="Check recipe and data, run one batch, and end."),
    find_lr: str = typer.Option(
        "", metavar="MODE", help="Search the rate first: set, graph_and_set or graph_and_exit."
    ),
    tensorboard: bool = typer.Option(False, help="Also write metrics for TensorBoard."),
    preview: bool = typer.Option(False, help="Show previews of a face model in a window."),
) -> None:
    """Train a node or a face model by its recipe.

    The weights of a node go into the package and the record beside the recipe. With --set or
    --trial both go to the folder of checkpoints instead: the shipped node is what its recipe says,
    nothing else. A face model goes to that folder in any case.
    """
    from featflow.cli import fitting
    from featflow.train.face_recipe import is_face_recipe

    wanted = fitting.Wanted(
        recipe=recipe,
        work=work,
        resume=resume,
        changes=dict(_change(text) for text in changes),
        ship=not (changes or trial),
        dry_run=dry_run,
        find_lr=find_lr,
        tensorboard=tensorboard,
        preview=preview,
        say=(lambda line: None) if quiet else errors.print,
    )
    results = fitting.faces(wanted) if is_face_recipe(recipe) else fitting.node(wanted)
    typer.echo(json.dumps(results, indent=1))


def _change(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"--set {text}: write TABLE.KEY=VALUE")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
