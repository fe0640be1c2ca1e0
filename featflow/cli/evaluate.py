"""``featflow evaluate``: measure the shipped nodes on labelled faces."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from featflow.cli.codes import exits_cleanly
from featflow.errors import MissingInputError, OptionError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate")(exits_cleanly(evaluate))


def evaluate(
    nodes: list[str] | None = typer.Argument(None, help="Nodes, as emotion/tiny; all if none."),
    every: bool = typer.Option(False, "--all", help="All nodes, in so many words."),
    data: Path = typer.Option(Path("../shared"), help="Folder with faces/ and media/groups/."),
    save: Path | None = typer.Option(None, help="Catalogue to write results into, as nodes/."),
) -> None:
    """Measure embedded nodes on the val split; figures go to stdout as JSON."""
    from featflow.evaluation.run import evaluate_all, save_results

    if not (data / "faces" / "labels.parquet").is_file():
        raise MissingInputError(
            str(data), "holds no faces/labels.parquet", "see datasets/labelled_faces/README.md"
        )
    if every and nodes:
        raise OptionError("name nodes, or say --all, not both")
    figures = evaluate_all(data, nodes or ())
    if save is not None:
        save_results(figures, save)
    typer.echo(json.dumps(figures, indent=1))
