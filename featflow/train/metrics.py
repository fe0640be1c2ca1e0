"""Metrics on disk: a CSV that grows by a row at a time and survives a killed run."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from featflow.errors import OutputError
from featflow.files import output_error, write_text_atomic

NAME = "metrics.csv"


class MetricsFile:
    """``metrics.csv`` of a run: one row a record, columns by name.

    Args:
        path: the file.
        step: rows after this step are dropped: a run that resumes will write them again.
        fresh: begin anew; what an earlier run wrote is dropped.
    """

    def __init__(self, path: Path, step: int = 0, fresh: bool = False) -> None:
        self.path = path
        rows = [] if fresh or not path.is_file() else read_metrics(path)
        kept = [row for row in rows if row.get("step", 0) <= step]
        self.columns = list(dict.fromkeys(name for row in kept for name in row))
        if kept:
            self._rewrite(kept)
        elif path.is_file():
            write_text_atomic(path, "")

    def add(self, row: Mapping[str, float]) -> None:
        """Append a row; a new column rewrites the file.

        Raises:
            OutputError: the file cannot be written.
        """
        new = [name for name in row if name not in self.columns]
        if new:
            before = read_metrics(self.path) if self.columns else []
            self.columns += new
            self._rewrite([*before, row])
            return
        try:
            with self.path.open("a", encoding="utf-8", newline="") as file:
                file.write(self._line(row))
        except OSError as error:
            raise output_error(self.path, error) from error

    def _rewrite(self, rows: list[Mapping[str, float]] | list[dict[str, float]]) -> None:
        header = ",".join(self.columns) + "\n"
        write_text_atomic(self.path, header + "".join(self._line(row) for row in rows))

    def _line(self, row: Mapping[str, float]) -> str:
        text = io.StringIO()
        values = [row.get(name, "") for name in self.columns]
        csv.writer(text, lineterminator="\n").writerow(
            [f"{v:.9g}" if isinstance(v, float) else v for v in values]
        )
        return text.getvalue()


def read_metrics(path: str | Path) -> list[dict[str, float]]:
    """Rows of a ``metrics.csv``; a last line that was cut short is left out.

    Raises:
        OutputError: the file cannot be read, or is no table of numbers.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        return [
            {name: float(value) for name, value in row.items() if name and value}
            for row in csv.DictReader(io.StringIO(whole))
        ]
    except (OSError, ValueError, TypeError) as error:
        raise OutputError(f"{path}: is not a readable table of metrics: {error}") from error
