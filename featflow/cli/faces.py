"""``featflow export-faces`` and ``featflow import-faces``: aligned pictures that carry rows."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import typer

from featflow.cli.codes import exits_cleanly
from featflow.cli.console import errors
from featflow.geometry.centring import Centring


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("export-faces")(exits_cleanly(export_faces))
    app.command("import-faces")(exits_cleanly(import_faces))


def export_faces(
    table: Path = typer.Argument(..., help="Table of faces with landmarks."),
    folder: Path = typer.Argument(..., help="Folder for the pictures."),
    size: int = typer.Option(512, min=16, help="Side of the pictures in pixels."),
    centring: str = typer.Option("head", help="legacy, face or head."),
    marked: bool = typer.Option(False, help="Also rows that a filter marked."),
) -> None:
    """Write each face as an aligned PNG that carries its row of the table."""
    from featflow.extract import export_faces as export
    from featflow.fex import read_fex

    written = export(read_fex(table), folder, size, cast("Centring", centring), marked=marked)
    errors.print(f"{len(written)} faces written to {folder}", markup=False)


def import_faces(
    source: Path = typer.Argument(..., help="Folder of such pictures, or a JSON of boxes."),
    save: Path = typer.Option(..., help="Table: .csv, .parquet, .feather or .json."),
    folder: Path | None = typer.Option(None, help="For a JSON: where its pictures lie."),
    clip: Path | None = typer.Option(None, help="For a JSON: the clip of which it has frames."),
) -> None:
    """Bring the table of exported faces back, or make one from boxes in JSON."""
    from featflow.extract import read_boxes, read_faces

    fex = read_faces(source) if source.is_dir() else read_boxes(source, folder, clip)
    fex.save(save)
    errors.print(f"{len(fex)} rows written to {save}", markup=False)
