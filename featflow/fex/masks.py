"""Masks beside a table: arrays that are no columns, found by the face that they belong to.

A mask is found by the face's ``input``, ``frame`` and box, which every table of faces has and
every format keeps to the bit. So a table can be cut, sorted, joined, saved and read back, and
its rows still find their masks. In memory and in the file each mask is compressed on its own.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from featflow.errors import InputError, MissingInputError, SchemaError
from featflow.files import atomic_path
from featflow.geometry.similarity import invert
from featflow.geometry.warp import warp

Floats = NDArray[np.floating[Any]]

BOX = ("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight")
KEY = ("input", "frame", *BOX)
"""Columns of a table by which a row finds its mask."""

SCHEMA = pa.schema(
    [
        ("input", pa.string()),
        ("frame", pa.int64()),
        ("box", pa.list_(pa.float32(), 4)),
        ("size", pa.int32()),
        ("centring", pa.string()),
        ("matrix", pa.list_(pa.float64(), 6)),
        ("mask", pa.binary()),
    ]
)
"""Columns of the file: the face, the mask's side in pixels, what lies in its middle, the map from
original pixels to the mask's (row by row), and zlib-compressed bytes, row by row."""

_LARGEST = 8192
_TOLERANCE_PX = 0.01
_FAST = 1


@dataclass(frozen=True, slots=True)
class StoredMask:
    """The mask of one face.

    Attributes:
        pixels: (size, size) uint8, 0 outside to 255 inside.
        matrix: (2, 3) map from original pixels to the mask's; NaN where the face had no
            landmarks, and the mask is all 0.
        centring: what lies in the middle, see :class:`featflow.geometry.crop.CropRule`.
    """

    pixels: NDArray[np.uint8]
    matrix: NDArray[np.float64]
    centring: str

    @property
    def size(self) -> int:
        """Side in pixels."""
        return len(self.pixels)

    def on_frame(self, height: int, width: int) -> NDArray[np.uint8]:
        """The mask as it lies on the original frame, (height, width) uint8."""
        if not np.isfinite(self.matrix).all():
            return np.zeros((height, width), np.uint8)
        return warp(self.pixels, invert(self.matrix), (height, width))


class Masks:
    """Masks of many faces, in memory or in a file that is read on first use.

    Args:
        source: rows of :data:`SCHEMA`, or the file that holds them.
    """

    def __init__(self, source: pa.Table | Path) -> None:
        self._table = source if isinstance(source, pa.Table) else None
        self._path = source if isinstance(source, Path) else None
        self._stamp = _stamp(self._path) if self._path else None
        self._rows: dict[tuple[str, int], list[int]] | None = None
        self._boxes = np.zeros((0, 4), np.float32)

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        return f"Masks({self._path or len(self)})"

    @property
    def table(self) -> pa.Table:
        """The rows.

        Raises:
            MissingInputError: the file is gone.
            InputError: it was replaced since the table was read, or is damaged.
        """
        if self._table is None:
            assert self._path is not None  # noqa: S101 - one of the two is there
            if _stamp(self._path) != self._stamp:
                reason = "was replaced since its table was read"
                raise InputError(str(self._path), reason, "read the table again")
            self._table = read_masks(self._path)
        return self._table

    def find(self, name: str, frame: int, box: Floats) -> int | None:
        """Row of a face's mask; None where there is none."""
        if self._rows is None:
            self._index()
        assert self._rows is not None  # noqa: S101 - just made
        rows = self._rows.get((name, frame), ())
        for row in rows:
            if np.abs(self._boxes[row] - box).max() <= _TOLERANCE_PX:
                return row
        return None

    def _index(self) -> None:
        table, rows = self.table, defaultdict(list)
        keys = zip(table["input"].to_pylist(), table["frame"].to_pylist(), strict=True)
        for row, key in enumerate(keys):
            rows[key].append(row)
        self._boxes = _numbers(table["box"], 4)
        self._rows = dict(rows)

    def read(self, row: int) -> StoredMask:
        """One mask.

        Raises:
            InputError: its bytes are damaged.
        """
        fields = {n: self.table[n][row].as_py() for n in ("size", "centring", "matrix", "mask")}
        matrix = np.array(fields["matrix"], np.float64).reshape(2, 3)
        pixels = _unpacked(fields["mask"], fields["size"], str(self._path or "masks in memory"))
        return StoredMask(pixels, matrix, fields["centring"])


def _stamp(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError as error:
        hint = "put it back beside its table, under the table's name"
        raise MissingInputError(str(path), "no such file", hint) from error
    return stat.st_size, stat.st_mtime_ns


def masks_path(path: Path) -> Path:
    """Where the masks of a table lie: ``faces.csv.masks.parquet`` beside ``faces.csv``."""
    return path.with_name(f"{path.name}.masks.parquet")


def pack_masks(
    rows: pd.DataFrame, masks: NDArray[np.uint8], matrices: Floats, centring: str
) -> Masks:
    """Masks of faces, to be kept with a table.

    Args:
        rows: (N) rows of the table, one a face, with the columns :data:`KEY`.
        masks: (N, size, size) uint8.
        matrices: (N, 2, 3) maps from original pixels to the masks'.
        centring: what lies in the middle of a mask.

    Raises:
        SchemaError: the arrays have another shape or dtype.
    """
    count, size = len(rows), masks.shape[-1]
    if masks.dtype != np.uint8 or masks.shape != (count, size, size):
        raise SchemaError(
            f"masks must be uint8 ({count}, size, size), got {masks.dtype} {masks.shape}"
        )
    if np.shape(matrices) != (count, 2, 3):
        raise SchemaError(f"matrices must be ({count}, 2, 3), got {np.shape(matrices)}")
    columns = [
        pa.array(rows["input"].astype(object), pa.string()),
        pa.array(rows["frame"].to_numpy(np.int64)),
        _lists(rows[list(BOX)].to_numpy(np.float32)),
        pa.array(np.full(count, size, np.int32)),
        pa.array([centring] * count, pa.string()),
        _lists(np.asarray(matrices, np.float64).reshape(count, 6)),
        pa.array([zlib.compress(mask.tobytes(), _FAST) for mask in masks], pa.binary()),
    ]
    return Masks(pa.Table.from_arrays(columns, schema=SCHEMA))


def _lists(values: Floats) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def _numbers(column: pa.ChunkedArray, width: int) -> Floats:
    chunks = [np.asarray(chunk.flatten()).reshape(-1, width) for chunk in column.chunks]
    return np.concatenate([np.zeros((0, width), np.float32), *chunks])


def _unpacked(data: bytes, size: int, source: str) -> NDArray[np.uint8]:
    """Pixels of a compressed mask; never more bytes than its size says."""
    expander = zlib.decompressobj()
    try:
        if not 0 < size <= _LARGEST:
            raise ValueError(f"a side of {size} pixels")
        raw = expander.decompress(data, size * size + 1)
        if len(raw) != size * size:
            raise ValueError(f"{len(raw)} bytes for {size} by {size} pixels")
    except (zlib.error, ValueError) as error:
        raise InputError(source, f"holds a damaged mask: {error}", "detect again") from error
    return np.frombuffer(raw, np.uint8).reshape(size, size)


def faces_of(rows: pd.DataFrame) -> Iterator[tuple[str, int, Floats]]:
    """Input, frame and box of each row, for :meth:`Masks.find`; NaN boxes have no face.

    Raises:
        SchemaError: the table lacks a column of :data:`KEY`.
    """
    missing = [name for name in KEY if name not in rows.columns]
    if missing:
        raise SchemaError(f"masks are found by {', '.join(KEY)}; the table has no {missing}")
    boxes = rows[list(BOX)].to_numpy(np.float64)
    return zip(rows["input"].tolist(), rows["frame"].tolist(), boxes, strict=True)


def select_masks(stores: Sequence[Masks], rows: pd.DataFrame) -> Masks:
    """The masks of the rows of a table, out of several stores, in the order of the rows."""
    found: list[list[int]] = [[] for _ in stores]
    order: list[tuple[int, int]] = []
    for name, frame, box in faces_of(rows):
        for at, store in enumerate(stores):
            row = store.find(name, frame, box)
            if row is not None:
                order.append((at, len(found[at])))
                found[at].append(row)
                break
    parts = [_take(store.table, picked) for store, picked in zip(stores, found, strict=True)]
    starts = np.cumsum([0, *map(len, parts)])
    joined = pa.concat_tables(parts) if parts else SCHEMA.empty_table()
    return Masks(_take(joined, [int(starts[at]) + row for at, row in order]))


def _take(table: pa.Table, rows: list[int]) -> pa.Table:
    return table.take(pa.array(rows, pa.int64()))


def write_masks(path: Path, parts: Iterable[pa.Table], scratch: Path | None = None) -> None:
    """Write masks whole or not at all, part by part, so that memory does not grow.

    Args:
        path: file to write or replace.
        parts: rows of :data:`SCHEMA`.
        scratch: folder for the temporary file, on the same disk.

    Raises:
        OutputError: it cannot be written.
    """
    with (
        atomic_path(path, scratch) as temporary,
        # Masks are compressed already; the other columns are small.
        pq.ParquetWriter(
            temporary, SCHEMA, compression="zstd", use_dictionary=["input", "centring"]
        ) as writer,
    ):
        for part in parts:
            if len(part):
                writer.write_table(part.combine_chunks(), row_group_size=len(part))


def read_masks(path: Path) -> pa.Table:
    """Rows of a file of masks.

    Raises:
        MissingInputError: there is no such file.
        InputError: it is damaged, or is something else.
    """
    _stamp(path)
    try:
        with pq.ParquetFile(path) as file:
            table = file.read().replace_schema_metadata()
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(str(path), f"is not a file of masks: {reason}", "detect again") from error
    if not table.schema.equals(SCHEMA):
        raise InputError(str(path), f"is not a file of masks: it has {table.schema.names}")
    return table
