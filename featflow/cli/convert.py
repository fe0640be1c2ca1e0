"""``featflow convert``: apply a face model to a clip."""

from __future__ import annotations

from pathlib import Path

import typer

from featflow.cli.codes import exits_cleanly
from featflow.cli.console import errors


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("convert")(exits_cleanly(convert))


def convert(
    out: Path = typer.Argument(..., help="File to write: .mp4, .mov, .mkv, .png or .jpg."),
    model: Path = typer.Option(..., help="model.safetensors of featflow train."),
    fex: Path = typer.Option(..., help="Table of the faces of one clip or photo."),
    to: str = typer.Option(..., help="Identity whose features are drawn."),
    mask: str = typer.Option("extended", help="Where: a part of the face, or 'learned'."),
    keep_colour: bool = typer.Option(False, help="Leave the drawn colours as they are."),
    root: Path | None = typer.Option(None, help="Folder that the table's path starts from."),
) -> None:
    """Draw the faces of a clip with another person's features.

    The file says in its metadata that its faces are synthetic.
    """
    from featflow.train.convert import Blend, Converter
    from featflow.train.convert import convert as run
    from featflow.train.models.autoencoder import load_face_model

    network, crop = load_face_model(model)
    blend = Blend(mask=mask, colour="keep" if keep_colour else "match")
    count = run(Converter(network, crop, to, blend), fex, out, root=root)
    errors.print(f"wrote {out}: {count} frames, faces are synthetic")
