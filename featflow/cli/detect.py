"""``featflow detect``: inputs in, a table and annotated pictures out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer
from rich.table import Table

from featflow.cli.codes import exits_cleanly
from featflow.cli.console import errors, results
from featflow.errors import FeatflowError, OptionError, OutputError
from featflow.files import write_atomically

if TYPE_CHECKING:
    from featflow.fex.table import Fex
    from featflow.runs import Run

SAMPLES = {"sample:photo": "sample_photo", "sample:clip": "sample_clip"}


SHOWN_ROWS = 20
"""Rows that a terminal shows; --save has them all."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("detect")(exits_cleanly(detect))


def detect(
    inputs: list[str] = typer.Argument(
        ..., help="Photos, clips, folders or patterns; sample:photo and sample:clip ship inside."
    ),
    save: Path | None = typer.Option(None, help="Table: .csv, .parquet, .feather or .json."),
    annotate: Path | None = typer.Option(None, help="Folder for annotated pictures."),
    face: str = typer.Option("tiny", help="Face node."),
    landmark: str = typer.Option("tiny", help="Landmark node, or none."),
    pose: str = typer.Option("mlp", help="Pose node, or none."),
    identity: str = typer.Option("none", help="Identity node, or none."),
    people: Path | None = typer.Option(None, help="Enrolled people to name (featflow enroll)."),
    identity_threshold: float | None = typer.Option(None, help="Cosine from which two are one."),
    identity_method: str = typer.Option("gallery", help="How to tell people apart, or none."),
    track: bool | None = typer.Option(None, help="Let tracks vote for names. [in clips]"),
    wanted: Path | None = typer.Option(None, help="Enrolled people to keep; mark all others."),
    unwanted: Path | None = typer.Option(None, help="Enrolled people to mark."),
    device: str = typer.Option("auto", help="cpu, cuda, mps or auto."),
    batch_size: int = typer.Option(8, min=1, help="Frames at a time."),
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
    """
    from featflow.detector import Detector
    from featflow.runs import OnError, RunOptions

    _check_folder(annotate)
    paths = [_sample(name) for name in inputs]
    detector = Detector(
        face,
        _none(landmark),
        _none(pose),
        identity=_none(identity),
        device=device,
        identity_gallery=people,
        identity_threshold=identity_threshold,
        identity_method=_none(identity_method),  # type: ignore[arg-type]
        identity_track=track,
        wanted=wanted,
        unwanted=unwanted,
    )
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
    _work(detector.run(paths, options), save, resume, annotate, quiet)


def _work(run: Run, save: Path | None, resume: bool, annotate: Path | None, quiet: bool) -> None:
    progress = not quiet
    table: Fex | None = None
    if save is not None:
        rows = run.save(save, resume=resume, progress_bar=progress)
        _say(quiet, f"{rows} rows written to {save}")
    else:
        table = run.table(resume=resume, progress_bar=progress)
        _show(table)
    if annotate is not None:
        _annotate(table, save, annotate, quiet)
    _report_failures(run.failures, run.source.reports, save)
    if run.failures:
        raise typer.Exit(1)


def _sample(name: str) -> str:
    if name not in SAMPLES:
        return name
    from featflow import datasets

    made = getattr(datasets, SAMPLES[name])()
    return str(getattr(made, "path", made))


def _none(name: str) -> str | None:
    return None if name.lower() in ("none", "") else name


def _check_folder(folder: Path | None) -> None:
    if folder is not None and folder.exists() and not folder.is_dir():
        raise OptionError(f"--annotate {folder}: is a file; name a folder")


def _say(quiet: bool, text: str) -> None:
    if not quiet:
        errors.print(text, markup=False)


def _show(fex: Fex) -> None:
    """Print the columns that people look at first: a table on a terminal, else all rows as CSV."""
    wanted = ["input", "frame", "time", *fex.faceboxes.columns]
    wanted += [n for n in ("Pitch", "Roll", "Yaw", "Identity", "IdentityScore") if n in fex]
    if not results.is_terminal:
        typer.echo(fex[wanted].to_csv(index=False, float_format="%.6g"), nl=False)
        return
    table = Table(*wanted, box=None)
    for row in fex[wanted].head(SHOWN_ROWS).itertuples(index=False):
        table.add_row(*(_short(value) for value in row))
    results.print(table)
    if len(fex) > SHOWN_ROWS:
        results.print(f"and {len(fex) - SHOWN_ROWS} rows more; --save FILE keeps all of them")


def _short(value: Any) -> str:
    if isinstance(value, str):
        return Path(value).name
    return f"{value:.2f}" if isinstance(value, float) else str(value)


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
