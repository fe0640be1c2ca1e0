"""Saving a run as it goes, so that an interruption costs only what was not finished.

Each finished piece of the table becomes a Parquet file in a hidden folder beside the
target, and its masks another. When all are there they are merged, in order and one at a
time, into the target, which appears whole. What the target holds depends on the pieces
alone, so a run that was interrupted and resumed gives the same bytes as one that was not.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from featflow.errors import OptionError, OutputError, ResumeError, SchemaError
from featflow.fex.arrow import from_arrow, to_arrow
from featflow.fex.formats import open_sink, suffix_of
from featflow.fex.io import write_sidecar
from featflow.fex.lock import FileLock
from featflow.fex.masks import Masks, masks_path, read_masks, select_masks, write_masks
from featflow.fex.meta import dump_meta
from featflow.fex.table import Fex
from featflow.files import atomic_path, output_error, require_folder, write_text_atomic

_MANIFEST = "manifest.json"
Change = Callable[[Fex, int], Fex]

_PIECE = re.compile(r"piece-(\d{8,})\.parquet")
_MASK_PIECE = re.compile(r"piece-\d{8,}\.parquet\.masks\.parquet")
_MANIFEST_VERSION = 1


def input_fingerprints(inputs: Iterable[str | Path]) -> list[dict[str, Any]]:
    """What tells that inputs are the same as before: path, size and time of last change.

    A name that is no file (an array in memory) stands for itself.
    """
    found: list[dict[str, Any]] = []
    for name in inputs:
        entry: dict[str, Any] = {"path": str(name)}
        if Path(name).is_file():
            stat = Path(name).stat()
            entry.update(size=stat.st_size, mtime_ns=stat.st_mtime_ns)
        found.append(entry)
    return found


class FexWriter:
    """Writes a table piece by piece, and can go on where an earlier run stopped.

    Use it as a context manager: leaving it without :meth:`finish` keeps the finished pieces
    for a later run with ``resume=True``.

    Args:
        path: ``.csv``, ``.parquet``, ``.feather`` or ``.json`` file to write in the end.
        meta: metadata of the table; also what a resumed run must agree on.
        resume: keep the pieces of an interrupted run. Without it they are discarded.
        inputs: what the run reads, see :func:`input_fingerprints`; they must agree too.

    Raises:
        OptionError: unknown ending of the path.
        OutputError: the folder is missing or cannot be written, or another process writes
            this target.
        ResumeError: the interrupted run had other options, nodes, weights or inputs.
    """

    def __init__(
        self,
        path: str | Path,
        meta: Mapping[str, Any],
        *,
        resume: bool = False,
        inputs: Iterable[str | Path] = (),
    ) -> None:
        self.path = Path(path)
        self._suffix = suffix_of(self.path)
        self._meta = dump_meta(meta)
        fingerprint = {
            "manifest_version": _MANIFEST_VERSION,
            **json.loads(self._meta),
            "inputs": input_fingerprints(inputs),
        }
        require_folder(self.path)
        self.folder = self.path.with_name(f".{self.path.name}.parts")
        self._schema: pa.Schema | None = None
        self._lock = FileLock(self.path)
        try:
            self._prepare(fingerprint, resume)
        except BaseException:
            self.close()
            raise

    def _prepare(self, fingerprint: dict[str, Any], resume: bool) -> None:
        manifest = self.folder / _MANIFEST
        if resume and manifest.is_file():
            _require_same_run(manifest, fingerprint)
            for leftover in self.folder.glob(".*.tmp"):
                leftover.unlink(missing_ok=True)
            if self.finished_pieces:
                self._schema = pq.read_schema(self._piece(self.finished_pieces[0]))
            return
        try:
            if self.folder.exists():
                self._require_own_folder()
                shutil.rmtree(self.folder)
            self.folder.mkdir()
        except OSError as error:
            raise output_error(self.folder, error) from error
        write_text_atomic(manifest, json.dumps(fingerprint, indent=1, sort_keys=True))

    def _require_own_folder(self) -> None:
        """Refuse to clear a folder that holds what no writer puts there."""
        for entry in self.folder.iterdir():
            ours = any(p.fullmatch(entry.name) for p in (_PIECE, _MASK_PIECE))
            if not (ours or entry.name == _MANIFEST) and not entry.name.endswith(".tmp"):
                raise OutputError(f"{self.folder}: holds {entry.name}, not ours (move it away)")

    @property
    def finished_pieces(self) -> tuple[int, ...]:
        """Indices of the pieces that are written, rising."""
        names = (_PIECE.fullmatch(entry.name) for entry in self.folder.iterdir())
        return tuple(sorted(int(match[1]) for match in names if match))

    def _piece(self, index: int) -> Path:
        return self.folder / f"piece-{index:08d}.parquet"

    def add(self, piece_index: int, fex_piece: Fex) -> None:
        """Write a finished piece; the same index again replaces it.

        Args:
            piece_index: place of the piece in the table, from 0; they may come in any order.
            fex_piece: its rows, with the columns of the other pieces.

        Raises:
            SchemaError: other columns or dtypes than the pieces before.
            OutputError: it cannot be written.
        """
        self._require_open()
        table = to_arrow(fex_piece)
        if self._schema is None:
            self._schema = table.schema
        elif not table.schema.equals(self._schema):
            raise SchemaError(f"piece {piece_index} {_unlike(self._schema, table.schema)}")
        if fex_piece._masks:
            # Before the rows: a piece is finished when its rows are there.
            masks = select_masks(fex_piece._masks, fex_piece)
            write_masks(masks_path(self._piece(piece_index)), [masks.table])
        with atomic_path(self._piece(piece_index)) as temporary:
            # Pieces live for the run only: writing fast matters more than their size.
            pq.write_table(
                table, temporary, compression="lz4", use_dictionary=False, write_statistics=False
            )

    def read(self, piece_index: int) -> Fex:
        """Rows of a finished piece, as they were added.

        Raises:
            OptionError: there is no such piece.
        """
        path = self._piece(piece_index)
        if not path.is_file():
            raise OptionError(
                f"{self.path}: there is no piece {piece_index}; finished are {self.finished_pieces}"
            )
        with pq.ParquetFile(path) as piece:
            fex = from_arrow(piece.read(), json.loads(self._meta))
        if masks_path(path).is_file():
            # Read now: the pieces are gone when the table is whole.
            fex._masks = (Masks(read_masks(masks_path(path))),)
        return fex

    def finish(self, meta: Mapping[str, Any] | None = None, change: Change | None = None) -> Path:
        """Merge the pieces in order into the target, and remove them.

        Args:
            meta: metadata of the table where they are known only now (how each input
                ended); those that the writer was made with if None.
            change: called with each piece and the number of rows before it, gives the rows to
                write instead, as many.

        Returns:
            The target.

        Raises:
            SchemaError: no piece was added (add an empty one for a table without rows).
            OutputError: the target cannot be written; the pieces are kept.
        """
        self._require_open()
        if self._schema is None:
            raise SchemaError(f"{self.path}: no piece was added, so the columns are not known")
        self._finish_masks()
        text = self._meta if meta is None else dump_meta(meta)
        tables = self._tables(change)
        first = next(tables)
        write_sidecar(self.path, text)
        with (
            atomic_path(self.path, scratch=self.folder) as temporary,
            open_sink(temporary, self._suffix, first.schema, text) as sink,
        ):
            for table in chain([first], tables):
                sink.write(table)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.close()
        return self.path

    def _tables(self, change: Change | None) -> Iterator[pa.Table]:
        before = 0
        for index in self.finished_pieces:
            with pq.ParquetFile(self._piece(index)) as file:
                table = file.read()
            rows = len(table)
            yield table if change is None else to_arrow(change(from_arrow(table, {}), before))
            before += rows

    def _finish_masks(self) -> None:
        pieces = [masks_path(self._piece(index)) for index in self.finished_pieces]
        there = [piece for piece in pieces if piece.is_file()]
        if there:
            write_masks(masks_path(self.path), map(read_masks, there), scratch=self.folder)

    def close(self) -> None:
        """Let others write the target; finished pieces stay for a resumed run."""
        self._lock.release()
        self._closed = True

    _closed = False

    def _require_open(self) -> None:
        if self._closed:
            raise OutputError(f"{self.path}: this writer is closed (make a new one)")

    def __enter__(self) -> FexWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _unlike(first: pa.Schema, other: pa.Schema) -> str:
    missing = [name for name in first.names if name not in other.names]
    extra = [name for name in other.names if name not in first.names]
    if missing or extra:
        return f"has other columns than the first: lacks {missing[:5]}, adds {extra[:5]}"
    types = [f"{f.name} is {f.type}" for f in other if first.field(f.name).type != f.type]
    return f"differs from the first: {', '.join(types[:5]) or 'the columns stand in another order'}"


def _require_same_run(manifest: Path, fingerprint: Mapping[str, Any]) -> None:
    try:
        before = json.loads(manifest.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ResumeError(
            f"{manifest}: is damaged, so the interrupted run cannot be resumed "
            "(run again without resume to start over)"
        ) from error
    differences = _differences(before, dict(fingerprint))
    if differences:
        raise ResumeError(
            f"the interrupted run in {manifest.parent} differs from this one: "
            f"{'; '.join(differences[:5])} (use the same options and inputs, or run without "
            "resume to start over)"
        )


def _differences(before: Any, now: Any, name: str = "") -> list[str]:
    """Where two JSON values differ, as ``options.threshold was 0.5, is 0.4``."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = sorted({*before, *now})
        return [
            text
            for key in keys
            for text in _differences(before.get(key), now.get(key), f"{name}.{key}".lstrip("."))
        ]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True))
        return [t for i, (b, n) in pairs for t in _differences(b, n, f"{name}[{i}]")]
    if isinstance(before, list) and isinstance(now, list):
        return [f"{name} had {len(before)} entries, has {len(now)}"]
    return [] if before == now else [f"{name} was {json.dumps(before)}, is {json.dumps(now)}"]
