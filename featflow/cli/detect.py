"""``featflow detect``: inputs in, a table and annotated pictures out."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import typer
from rich.table import Table

from featflow.cli.codes import exits_cleanly
from featflow.cli.console import errors, results
from featflow.cli.flags import (
    EXTRACT_FLAGS,
    PEOPLE_FLAGS,
    SLOT_FLAGS,
    chosen_people,
    make_detector,
    takes,
)
from featflow.errors import FeatflowError, OptionError, OutputError
from featflow.files import write_atomically

if TYPE_CHECKING:
    import pandas as pd

    from featflow.detector import Detector
    from featflow.fex.table import Fex
    from featflow.runs import RunOptions

SAMPLES = {"sample:photo": "sample_photo", "sample:clip": "sample_clip"}


SHOWN_ROWS = 20
"""Rows that a terminal shows; --save has them all."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("detect")(exits_cleanly(detect))


@takes("slots", SLOT_FLAGS)
@takes("extract", EXTRACT_FLAGS)
@takes("people", PEOPLE_FLAGS)
def detect(
    slots: Mapping[str, str | None],
    extract: Mapping[str, Any],
    people: Mapping[str, Any],
    inputs: list[str] | None = typer.Argument(
        None, help="Photos, clips, folders or patterns; sample:photo and sample:clip ship inside."
    ),
    table: Path | None = typer.Option(
        None, "--from", help="Take the faces of this table, or of a folder of exported faces."
    ),
    save: Path | None = typer.Option(None, help="Table: .csv, .parquet, .feather or .json."),
    annotate: Path | None = typer.Option(None, help="Folder for annotated pictures."),
    device: str = typer.Option("auto", help="cpu, cuda, mps or auto."),
    batch_size: int | None = typer.Option(None, min=1, help="Frames at a time; 8, or profiled."),
    profile: Path | None = typer.Option(None, help="Batch sizes found by featflow profile."),
    compile: bool = typer.Option(False, help="Compile networks: a slow start."),
    num_workers: int = typer.Option(0, min=0, help="Decoding processes; 0 is a thread."),
    threshold: float = typer.Option(0.5, help="Least score of a face."),
    skip_frames: int | None = typer.Option(None, min=1, help="Take every n-th frame of clips."),
    output_size: int | None = typer.Option(None, min=16, help="Bound on the longer working side."),
    start: float | None = typer.Option(None, help="First second of clips."),
    stop: float | None = typer.Option(None, help="Last second of clips."),
    resume: bool = typer.Option(False, help="Go on with an interrupted run."),
    on_error: str = typer.Option("row", help="Unreadable inputs: row, skip or raise."),
    quiet: bool = typer.Option(False, help="Only errors."),
) -> None:
    """Detect faces; one row a face.

    Without --save the rows are printed with their first columns: in short on a terminal, as CSV
    into a pipe. With it, inputs that failed are listed in <save>.errors.json.

    With --from only the nodes that you name run, on the faces that the table holds. A folder that
    featflow export-faces wrote goes in place of a table; its pictures are looked at then.
    """
    from featflow.runs import OnError, RunOptions

    _check_folder(annotate)
    options = RunOptions(
        batch_size=batch_size,
        num_workers=num_workers,
        face_detection_threshold=threshold,
        skip_frames=skip_frames,
        output_size=output_size,
        start=start,
        stop=stop,
        on_error=cast("OnError", on_error),
    )
    rest = {"device": device, "profile": profile, "compile": compile, **chosen_people(people)}
    work = Work(make_detector(slots, extract, table is not None, **rest), options, quiet)
    if table is not None:
        _check_from(inputs, options, resume)
        done = work.from_table(table, save)
    else:
        done = work.from_inputs([_sample(name) for name in inputs or []], save, resume)
    if annotate is not None:
        _annotate(done.table, save, annotate, quiet)
    if not quiet:
        _report_marks(done.table, save)
    _report_failures(done.failures, done.reports, save)
    if done.failures:
        raise typer.Exit(1)


@dataclass(frozen=True)
class Done:
    """How a command's run ended; the table is None where it lies in a file alone."""

    table: Fex | None
    failures: list[FeatflowError]
    reports: Sequence[Any] = ()


@dataclass(frozen=True)
class Work:
    """A detector at work for the command."""

    detector: Detector
    options: RunOptions
    quiet: bool

    def from_inputs(self, paths: list[str], save: Path | None, resume: bool) -> Done:
        """Detect faces in files."""
        if not paths:
            raise OptionError("name photos or clips, or give a table with --from")
        run = self.detector.run(paths, self.options)
        if save is not None:
            rows = run.save(save, resume=resume, progress_bar=not self.quiet)
            _say(self.quiet, f"{rows} rows written to {save}")
            return Done(None, run.failures, run.source.reports)
        table = run.table(resume=resume, progress_bar=not self.quiet)
        _show(table)
        return Done(table, run.failures, run.source.reports)

    def from_table(self, path: Path, save: Path | None) -> Done:
        """Run nodes on the faces of a table."""
        from featflow.tables import TableRun

        run = TableRun(self.detector, path, self.options)
        table = run.table(save=save, progress_bar=not self.quiet)
        if save is not None:
            _say(self.quiet, f"{len(table)} rows written to {save}")
        else:
            _show(table)
        return Done(table, run.failures)


def _check_from(inputs: list[str] | None, options: RunOptions, resume: bool) -> None:
    """Refuse what says how to read and find faces where they come from a table."""
    from featflow.runs import RunOptions

    plain = RunOptions(batch_size=options.batch_size, on_error=options.on_error)
    if inputs or resume or options != plain:
        raise OptionError(
            "--from takes the faces of a table: inputs, --resume, --threshold, --num-workers, "
            "--skip-frames, --output-size, --start and --stop do not go with it"
        )


def _sample(name: str) -> str:
    if name not in SAMPLES:
        return name
    from featflow import datasets

    made = getattr(datasets, SAMPLES[name])()
    return str(getattr(made, "path", made))


def _check_folder(folder: Path | None) -> None:
    if folder is not None and folder.exists() and not folder.is_dir():
        raise OptionError(f"--annotate {folder}: is a file; name a folder")


def _say(quiet: bool, text: str) -> None:
    if not quiet:
        errors.print(text, markup=False)


def _show(fex: Fex) -> None:
    """Print the columns that people look at first: a table on a terminal, else all rows as CSV."""
    from featflow.fex.schema import EMOTIONS

    places = ["input", "frame", "time", *fex.faceboxes.columns]
    angles = ["Pitch", "Roll", "Yaw", "gaze_pitch", "gaze_yaw"]
    known = [name for name in (*places, *angles, *EMOTIONS, "Identity") if name in fex]
    if not results.is_terminal:
        typer.echo(fex[known].to_csv(index=False, float_format="%.6g"), nl=False)
        return
    first = fex.head(SHOWN_ROWS)
    shown = first[[name for name in known if name not in EMOTIONS]]
    if EMOTIONS[0] in fex:
        shown = shown.assign(emotion=_strongest(first.emotions))
    table = Table(*shown.columns, box=None)
    for row in shown.itertuples(index=False):
        table.add_row(*(_short(value) for value in row))
    results.print(table)
    if len(fex) > SHOWN_ROWS:
        results.print(f"and {len(fex) - SHOWN_ROWS} rows more; --save FILE keeps all of them")


def _strongest(emotions: pd.DataFrame) -> list[str]:
    """The most likely emotion of each row with its probability; empty where there is none."""
    names, values = list(emotions.columns), emotions.to_numpy(float)
    best = np.nan_to_num(values).argmax(1)
    return [
        "" if np.isnan(row).any() else f"{names[at]} {row[at]:.2f}"
        for row, at in zip(values, best, strict=True)
    ]


def _short(value: Any) -> str:
    if isinstance(value, str):
        return Path(value).name
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.2f}"
    return str(value)


def _annotate(table: Fex | None, save: Path | None, folder: Path, quiet: bool) -> None:
    from featflow.fex import read_fex
    from featflow.plot import annotate

    rows = table if table is not None else read_fex(str(save))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror}") from error
    taken: set[Path] = set()
    for source, part in rows.groupby("input", sort=False):
        path = Path(str(source))
        if not path.is_file() or not part["Keep"].any():
            continue
        target = _free_name(folder, path.stem, bool(part["time"].isna().all()), taken)
        annotate(path, part, target)
        _say(quiet, f"annotated {target}")


def _free_name(folder: Path, stem: str, still: bool, taken: set[Path]) -> Path:
    """A target that no other input of this run has: folders may hold files of one name."""
    suffix = ".png" if still else ".mp4"
    numbers = ("", *(f"-{n}" for n in range(2, len(taken) + 2)))
    names = (folder / f"{stem}{number}.annotated{suffix}" for number in numbers)
    target = next(name for name in names if name not in taken)
    taken.add(target)
    return target


def _report_marks(table: Fex | None, save: Path | None) -> None:
    """Say how many rows are marked, and for what."""
    from featflow.fex.io import read_columns
    from featflow.identity import count_marks

    rows = table if table is not None else read_columns(str(save), ["Keep", "FilterReason"])
    if "FilterReason" not in rows or rows["Keep"].all():
        return
    told = ", ".join(f"{reason} ({count})" for reason, count in count_marks(rows).items())
    errors.print(f"{(~rows['Keep']).sum()} of {len(rows)} rows marked: {told}", markup=False)


def _report_failures(failures: list[FeatflowError], reports: Any, save: Path | None) -> None:
    for report in reports:
        if report.status != "complete":
            errors.print(
                f"{report.source}: {report.status}, {report.decoded} of "
                f"{report.declared} frames: {report.reason}",
                style="yellow",
                markup=False,
            )
    if not failures:
        return
    table = Table(box=None)
    for name in ("input", "error", "reason"):
        table.add_column(name, overflow="fold")
    listed = []
    for error in failures:
        source = str(getattr(error, "source", ""))
        reason = str(getattr(error, "reason", error))
        table.add_row(source, type(error).__name__, reason)
        listed.append({"input": source, "error": type(error).__name__, "reason": str(error)})
    errors.print(table)
    if save is not None:
        path = save.with_name(f"{save.name}.errors.json")
        write_atomically(path, (json.dumps(listed, indent=1) + "\n").encode())
