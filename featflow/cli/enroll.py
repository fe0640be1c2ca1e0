"""``featflow enroll``: photos of people with names in, a gallery of references out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

from featflow.cli.codes import FAILED, exits_cleanly
from featflow.cli.console import errors
from featflow.errors import OptionError

if TYPE_CHECKING:
    from featflow.identity.reference import Several


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("enroll")(exits_cleanly(enroll))


def enroll(
    photos: Path = typer.Argument(
        ..., help="Folder of photos of one person each: Ada/1.jpg, or Ada_01.jpg."
    ),
    save: Path = typer.Option(..., help="Gallery to write, a .parquet file."),
    face: str = typer.Option("tiny", help="Face node."),
    landmark: str = typer.Option("tiny", help="Landmark node."),
    identity: str = typer.Option("tiny", help="Identity node; use the same to detect."),
    several: str = typer.Option("skip", help="Photos with several faces: skip, or all."),
    device: str = typer.Option("auto", help="cpu, cuda, mps or auto."),
    quiet: bool = typer.Option(False, help="Only errors."),
) -> None:
    """Enroll people, for featflow detect --people, --wanted and --unwanted.

    A photo that shows no face gives no reference and is named on stderr; so is one that shows
    several, unless --several all takes each of them, as for people to leave out. Exit code 1 where
    a photo cannot be read.
    """
    from featflow.detector import Detector
    from featflow.identity import enroll as enrolled
    from featflow.identity import names_from_paths, photos_below
    from featflow.runs import RunOptions

    if several not in ("skip", "all"):
        raise OptionError(f"--several is skip or all, got {several!r}")
    if save.suffix.lower() != ".parquet":
        raise OptionError(f"--save {save}: a gallery is saved as .parquet")
    detector = Detector(
        face, landmark, None, identity=identity, identity_method=None, device=device
    )
    run = detector.run(photos_below(photos), RunOptions(on_error="row"))
    table = run.table(progress_bar=not quiet)
    readable = table[table["Keep"]]
    names = names_from_paths(readable["input"].unique(), photos)
    people = enrolled(readable, names, cast("Several", several))
    people.save(save)
    for photo, reason in people.skipped.items():
        errors.print(f"skipped {photo}: {reason}", style="yellow", markup=False)
    for failure in run.failures:
        errors.print(f"featflow: {failure}", style="red", markup=False)
    if not quiet:
        errors.print(
            f"{len(people.people)} people, {len(people)} photos, written to {save}", markup=False
        )
    if run.failures:
        raise typer.Exit(FAILED)
