"""The four file formats, each as a sink that takes a table piece by piece.

What a sink writes depends on the rows and the metadata alone: no clock, no path, no host.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from featflow.errors import OptionError
from featflow.fex.meta import META_KEY, load_meta

_ROWS_IN_GROUP = 8192
"""Rows that are gathered before they are written: pieces may be small, and a Parquet row
group or an Arrow batch of a few rows costs more in headers than in numbers."""


class Sink(Protocol):
    """Takes tables of one schema in turn and writes them as one file."""

    def write(self, table: pa.Table) -> None:
        """Append rows."""

    def close(self) -> None:
        """Finish the file."""


class ParquetSink:
    """Parquet with metadata under ``featflow``, and where pandas looks for ``attrs``."""

    def __init__(self, path: Path, schema: pa.Schema, meta: str) -> None:
        texts = [field.name for field in schema if pa.types.is_string(field.type)]
        self._writer = pq.ParquetWriter(
            path, _with_meta(schema, meta), compression="zstd", use_dictionary=texts
        )

    def write(self, table: pa.Table) -> None:
        """Append a row group."""
        self._writer.write_table(table.cast(self._writer.schema), row_group_size=max(len(table), 1))

    def close(self) -> None:
        """Write the footer."""
        self._writer.close()


class FeatherSink:
    """Feather (the Arrow file format, LZ4)."""

    def __init__(self, path: Path, schema: pa.Schema, meta: str) -> None:
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        self._schema = _with_meta(schema, meta)
        self._file = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._file, self._schema, options=options)

    def write(self, table: pa.Table) -> None:
        """Append a record batch."""
        self._writer.write_table(table.cast(self._schema).combine_chunks())

    def close(self) -> None:
        """Write the footer."""
        self._writer.close()
        self._file.close()


class CsvSink:
    """CSV; numbers in the fewest digits that read back as the same float32.

    Metadata stand in a file of their own, see :func:`sidecar_path`.
    """

    def __init__(self, path: Path, schema: pa.Schema, meta: str) -> None:
        self._file = path.open("wb")
        self._write_rows(schema.empty_table(), header=True)

    def _write_rows(self, table: pa.Table, header: bool) -> None:
        import polars as pl

        text = io.BytesIO()
        pl.DataFrame(pl.from_arrow(table)).write_csv(text, include_header=header)
        self._file.write(text.getvalue())

    def write(self, table: pa.Table) -> None:
        """Append lines."""
        self._write_rows(table, header=False)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class JsonSink:
    """One JSON object with ``featflow`` (metadata), ``columns`` and ``rows``, a row a line."""

    def __init__(self, path: Path, schema: pa.Schema, meta: str) -> None:
        self._file = path.open("wb")
        self._first = True
        head = f'{{"{META_KEY}": {meta or "{}"},\n"columns": {json.dumps(schema.names)},\n"rows": ['
        self._file.write(head.encode())

    def write(self, table: pa.Table) -> None:
        """Append records."""
        import polars as pl

        if len(table) == 0:
            return
        text = io.BytesIO()
        pl.DataFrame(pl.from_arrow(table)).write_ndjson(text)
        # A line break inside a text is escaped in JSON, so each one here ends a record.
        records = text.getvalue().rstrip(b"\n").replace(b"\n", b",\n")
        self._file.write((b"\n" if self._first else b",\n") + records)
        self._first = False

    def close(self) -> None:
        """Write what closes the object."""
        self._file.write(b"\n]}\n")
        self._file.close()


_SINKS: dict[str, type[ParquetSink] | type[FeatherSink] | type[CsvSink] | type[JsonSink]] = {
    ".csv": CsvSink,
    ".parquet": ParquetSink,
    ".feather": FeatherSink,
    ".json": JsonSink,
}
SUFFIXES = tuple(_SINKS)
"""File name endings that say how a table is written."""


def suffix_of(path: Path) -> str:
    """The format that a file name asks for.

    Raises:
        OptionError: the name has none of the four endings.
    """
    suffix = path.suffix.lower()
    if suffix not in _SINKS:
        raise OptionError(
            f"{path}: a table is saved as {', '.join(SUFFIXES)}, and the name ends in "
            f"{path.suffix or 'none of them'!r}"
        )
    return suffix


def sidecar_path(path: Path) -> Path:
    """Where the metadata of a CSV file stand: ``faces.csv.meta.json`` beside ``faces.csv``."""
    return path.with_name(f"{path.name}.meta.json")


def sidecar_text(meta: str) -> str:
    """Metadata for people to read, always the same text for the same metadata."""
    return json.dumps(load_meta(meta), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


@contextmanager
def open_sink(path: Path, suffix: str, schema: pa.Schema, meta: str) -> Iterator[Sink]:
    """Open a sink that writes ``path`` in the format of ``suffix``; rows are gathered."""
    sink = _Gathered(_SINKS[suffix](path, schema, meta))
    try:
        yield sink
    except BaseException:
        sink.abandon()
        raise
    sink.close()


class _Gathered:
    """Passes rows on in portions of useful size, and in memory that does not grow."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._waiting: list[pa.Table] = []
        self._rows = 0

    def write(self, table: pa.Table) -> None:
        self._waiting.append(table)
        self._rows += len(table)
        if self._rows >= _ROWS_IN_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._sink.write(pa.concat_tables(self._waiting).combine_chunks())
        self._waiting, self._rows = [], 0

    def abandon(self) -> None:
        """Let go of the file, whose content is of no use any more."""
        try:
            self._sink.close()
        except OSError:
            return  # the first error, on its way to the caller, says what happened

    def close(self) -> None:
        self._flush()
        self._sink.close()


def _with_meta(schema: pa.Schema, meta: str) -> pa.Schema:
    if not meta:
        return schema.remove_metadata()
    attrs = json.dumps({META_KEY: meta}, ensure_ascii=False)
    return schema.with_metadata({META_KEY: meta, "PANDAS_ATTRS": attrs})
