"""The command's application and how its errors become exit codes."""

from __future__ import annotations

from collections.abc import Sequence

import click
import typer

from featflow import __version__
from featflow.cli import detect, info, nodes, training
from featflow.cli.console import errors
from featflow.errors import FeatflowError, OptionError

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

app = typer.Typer(
    name="featflow",
    help="Faces in photos and video as tables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
detect.register(app)
nodes.register(app)
training.register(app)
info.register(app)


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
    """Run one command line; returns the exit code and never lets a known error escape."""
    command = typer.main.get_command(app)
    try:
        code = command.main(list(arguments), prog_name="featflow", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        return USAGE
    except click.exceptions.Exit as error:
        return int(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        errors.print("interrupted; what was finished is kept", style="yellow")
        return INTERRUPTED
    except OptionError as error:
        errors.print(f"featflow: {error}", style="red", markup=False)
        return USAGE
    except FeatflowError as error:
        errors.print(f"featflow: {error}", style="red", markup=False)
        return FAILED
    return int(code or DONE)
