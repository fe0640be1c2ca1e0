"""``featflow animate``: play a table, a clip or poses on a still picture."""

from __future__ import annotations

from pathlib import Path

import typer

from featflow.cli.codes import exits_cleanly


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("animate")(exits_cleanly(animate))


def animate(
    still: Path = typer.Argument(..., help="Picture of the face to move."),
    source: Path = typer.Option(
        ..., "--from", help="Table of faces, clip of a face, or .csv of pose parameters."
    ),
    out: Path = typer.Option(..., help="Clip (.mp4, .mkv, .mov), or a folder for PNG pictures."),
    fps: float | None = typer.Option(None, help="Poses a second; those of the source if left out."),
    interpolate: int = typer.Option(1, min=1, max=4, help="Frames for each pose."),
    mirror: bool = typer.Option(False, help="Move like a mirror image."),
    person: str | None = typer.Option(None, help="Whose rows: a label of Identity, or 'largest'."),
    rig: Path | None = typer.Option(None, help="JSON with the 68 landmarks of the still."),
    save_rig: Path | None = typer.Option(None, help="Write the landmarks found, to edit them."),
    device: str = typer.Option("auto", help="For detection: cpu, cuda, mps or auto."),
    quiet: bool = typer.Option(False, help="Only errors."),
) -> None:
    """Move a still as the face of a table, a clip or a list of poses moves.

    The files written say in their metadata that the frames are synthetic.
    """
    from featflow.animate.find import find_rig
    from featflow.animate.produce import animate_file, read_motion
    from featflow.animate.rig import Rig
    from featflow.animate.still import read_still

    image = read_still(still)
    given = Rig.load(rig) if rig is not None else None
    motion = read_motion(source, person=person, fps=fps, mirror=mirror, device=device)
    face = given or find_rig(image, source=str(still))
    if save_rig is not None:
        face.save(save_rig)
    count = animate_file(still, motion, out, rig=face, interpolate=interpolate)
    if not quiet:
        typer.echo(f"{count} frames written to {out}", err=True)
