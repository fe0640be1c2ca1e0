"""``featflow info``: what a bug report should say."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import typer

from featflow import __version__
from featflow.cli.codes import exits_cleanly

LIBRARIES = (
    "torch",
    "numpy",
    "pandas",
    "polars",
    "pyarrow",
    "av",
    "decord",
    "opencv-python-headless",
    "pillow",
    "safetensors",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("info")(exits_cleanly(info))


def info() -> None:
    """Print versions and devices, for bug reports."""
    import torch

    typer.echo(f"featflow {__version__}")
    typer.echo(f"python {platform.python_version()} on {platform.platform()}")
    typer.echo(f"cpus {os.cpu_count()}, torch threads {torch.get_num_threads()}")
    typer.echo(f"cuda {torch.version.cuda if torch.cuda.is_available() else 'not available'}")
    for name in LIBRARIES:
        try:
            typer.echo(f"{name} {version(name)}")
        except PackageNotFoundError:
            typer.echo(f"{name} not installed")
