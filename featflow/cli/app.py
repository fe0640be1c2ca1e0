"""The command's application."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from featflow import __version__
from featflow.animate import cli as animate
from featflow.cli import (
    convert,
    detect,
    download,
    enroll,
    evaluate,
    faces,
    info,
    nodes,
    profile,
    training,
)
from featflow.cli.codes import DONE

app = typer.Typer(
    name="featflow",
    help="Faces in photos and video as tables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for part in (
    detect,
    enroll,
    animate,
    nodes,
    download,
    training,
    convert,
    evaluate,
    faces,
    profile,
    info,
):
    part.register(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"featflow {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Faces in photos and video as tables."""


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        app(list(arguments), prog_name="featflow")
    except SystemExit as done:
        return int(done.code or DONE)
    return DONE
