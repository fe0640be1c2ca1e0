"""``featflow evaluate``: measure nodes on labelled faces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from featflow.cli.codes import exits_cleanly
from featflow.errors import MissingInputError, OptionError

OWN_DATA = "labelled_faces"
OWN_ROOT = Path("../shared")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate")(exits_cleanly(evaluate))


def evaluate(
    nodes: list[str] | None = typer.Argument(None, help="Nodes, as emotion/tiny; all if none."),
    every: bool = typer.Option(False, "--all", help="All nodes, in so many words."),
    data: str = typer.Option(
        OWN_DATA, help="Data set: labelled_faces, or one of the field that you have, as aflw2000."
    ),
    root: Path | None = typer.Option(
        None, help="Folder of the data set; $FEATFLOW_DATA/NAME, or ../shared for labelled_faces."
    ),
    device: str = typer.Option("cpu", help="Where to run on sets of the field: cpu, cuda, auto."),
    save: Path | None = typer.Option(None, help="Catalogue to write results into, as nodes/."),
) -> None:
    """Measure nodes from their own detections; figures go to stdout as JSON."""
    if every and nodes:
        raise OptionError("name nodes, or say --all, not both")
    if data == OWN_DATA:
        figures = _own(root or OWN_ROOT, nodes or [], save)
    else:
        figures = _benchmark(data, root, nodes or [], device, save)
    typer.echo(json.dumps(figures, indent=1))


def _own(root: Path, nodes: list[str], save: Path | None) -> dict[str, Any]:
    """Embedded nodes on the ``val`` split of what they were trained on."""
    from featflow.evaluation.run import evaluate_all, save_results

    if not (root / "faces" / "labels.parquet").is_file():
        raise MissingInputError(
            str(root), "holds no faces/labels.parquet", "see datasets/labelled_faces/README.md"
        )
    figures = evaluate_all(root, nodes)
    if save is not None:
        save_results(figures, save)
    return figures


def _benchmark(
    data: str, root: Path | None, nodes: list[str], device: str, save: Path | None
) -> dict[str, Any]:
    """Any nodes on a data set of the field."""
    from featflow.evaluation.benchmarks import evaluate_benchmark, save_benchmark

    figures = evaluate_benchmark(data, root, nodes, device=device)
    if save is not None:
        save_benchmark(data, figures, save)
    return figures
