"""``featflow profile``: find the batch sizes that suit this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from featflow.cli.codes import exits_cleanly
from featflow.cli.console import errors, results
from featflow.cli.flags import EXTRACT_FLAGS, SLOT_FLAGS, make_detector, takes
from featflow.errors import OptionError
from featflow.tuning.search import Trial

GB = 1_000_000_000


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("profile")(exits_cleanly(profile))


@takes("slots", SLOT_FLAGS)
@takes("extract", EXTRACT_FLAGS)
def profile(
    slots: Mapping[str, str | None],
    extract: Mapping[str, Any],
    save: Path | None = typer.Option(None, help="File to keep the batch sizes in, .json."),
    device: str = typer.Option("auto", help="cpu, cuda, mps or auto."),
    faces_per_frame: float = typer.Option(2.0, help="Faces that a frame is taken to hold."),
    limit_memory: float | None = typer.Option(None, help="Most memory to use, GB."),
    seconds: float = typer.Option(2.0, help="How long each trial is timed."),
    largest: int = typer.Option(128, min=1, help="No batch grows beyond this."),
    frame_size: str = typer.Option("1280x720", help="Width x height of made-up frames."),
    quiet: bool = typer.Option(False, help="Only the result."),
) -> None:
    """Try batch sizes, print a table of what was tried, and keep the best.

    A run with --profile FILE, or Detector(profile=FILE), uses what was found.
    """
    from featflow.tuning.profile import Effort, profile_nodes

    limit = None if limit_memory is None else int(limit_memory * GB)
    effort = Effort(faces_per_frame, seconds, largest, limit, _height_width(frame_size))
    detector = make_detector(slots, extract, device=device)
    detector.load()

    def tell(trial: Trial) -> None:
        if not quiet:
            errors.print(f"tried {_sizes(trial)}: {_speed(trial)}", markup=False)

    found = profile_nodes(list(detector.nodes.values()), effort, tell=tell)
    _show(found.trials, found.sizes)
    if save is not None:
        found.save(save)
        errors.print(f"written to {save}", markup=False)


def _height_width(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise OptionError(f"--frame-size is width x height, as in 1280x720, got {text!r}")
    return int(height), int(width)


def _show(trials: tuple[Trial, ...], chosen: Mapping[str, int]) -> None:
    """One line a trial that ran; the one that was chosen is marked."""
    table = Table("", *chosen, "least", "memory", box=None)
    for trial in trials:
        if trial.fitted:
            cells = [f"{trial.sizes[node]}: {trial.frames_s[node]:.1f}/s" for node in chosen]
            mark = ">" if trial.sizes == chosen else ""
            memory = f"{trial.memory_bytes / GB:.2f} GB" if trial.memory_bytes else ""
            table.add_row(mark, *cells, f"{trial.least:.1f}/s", memory)
    results.print(table)


def _sizes(trial: Trial) -> str:
    return ", ".join(f"{node} {size}" for node, size in trial.sizes.items())


def _speed(trial: Trial) -> str:
    return f"{trial.least:.1f} frames a second" if trial.fitted else "does not fit into memory"
