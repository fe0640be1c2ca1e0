"""Saving a table and reading one back, ours or another program's."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.feather as pafeather
import pyarrow.parquet as pq

from featflow.errors import InputError, MissingInputError, OptionError, SchemaError
from featflow.fex.arrow import conform, from_arrow, to_arrow
from featflow.fex.foreign import adopt
from featflow.fex.formats import open_sink, sidecar_path, sidecar_text, suffix_of
from featflow.fex.masks import Masks, masks_path, select_masks, write_masks
from featflow.fex.meta import META_KEY, load_meta
from featflow.fex.schema import COLUMNS, column
from featflow.fex.table import Fex
from featflow.files import atomic_path, require_folder, write_text_atomic

if TYPE_CHECKING:
    import polars as pl

_MISSING = ["", "nan", "NaN", "-nan", "-nan(ind)"]
_TEXT_COLUMNS = ("approx_time",)  # "00:03" would be taken for a time of day


def save_fex(fex: pd.DataFrame, path: str | Path) -> Path:
    """Write a table whole or not at all; an old file of that name is replaced.

    The index is not written. Metadata go into Parquet, Feather and JSON files, and beside a
    CSV file as ``<name>.csv.meta.json``. The masks of its rows, where there are any, are written
    beside it as ``<name>.masks.parquet``.

    Args:
        fex: the table.
        path: ``.csv``, ``.parquet``, ``.feather`` or ``.json``.

    Returns:
        The path written.

    Raises:
        OptionError: another ending.
        OutputError: no such folder, no permission, disk full.
    """
    path = Path(path)
    suffix = suffix_of(path)
    require_folder(path)
    meta = str(fex.attrs.get(META_KEY, ""))
    table = to_arrow(fex)
    stores = getattr(fex, "_masks", ())
    if stores:
        write_masks(masks_path(path), [select_masks(stores, fex).table])
    write_sidecar(path, meta)
    with (
        atomic_path(path) as temporary,
        open_sink(temporary, suffix, table.schema, meta) as sink,
    ):
        sink.write(table)
    return path


def write_sidecar(path: Path, meta: str) -> None:
    """Write the metadata of a CSV file beside it; other formats hold their own."""
    if suffix_of(path) == ".csv" and meta:
        write_text_atomic(sidecar_path(path), sidecar_text(meta))


def read_fex(path: str | Path) -> Fex:
    """Read a table that featflow, py-feat or OpenFace wrote.

    What featflow wrote comes back with its metadata, and with the masks beside it. Tables of
    others are brought to featflow's columns, units and signs, see :mod:`featflow.fex.foreign`;
    columns that featflow does not know are kept.

    Args:
        path: ``.csv``, ``.parquet``, ``.feather`` or ``.json``.

    Raises:
        MissingInputError: there is no such file.
        InputError: the file is damaged or is not a table.
        OptionError: another ending.
    """
    path = Path(path)
    read = _READERS[suffix_of(path)]
    if not path.is_file():
        raise MissingInputError(str(path), "no such file", "check the path")
    try:
        fex = read(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError, SchemaError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            str(path), f"is not a readable {path.suffix} table: {reason}", "save it again"
        ) from error
    if "mask" in fex.meta.get("nodes", {}) and masks_path(path).is_file():
        fex._masks = (Masks(masks_path(path)),)
    return adopt(fex, path) if not fex.meta else fex


def scan_fex(path: str | Path) -> pl.LazyFrame:
    """A lazy polars scan of a Parquet table: reads only the columns and rows you ask for.

    Raises:
        MissingInputError: there is no such file.
        OptionError: the file is not Parquet.
    """
    import polars as pl

    path = Path(path)
    if path.suffix.lower() != ".parquet":
        raise OptionError(f"{path}: only .parquet can be scanned (use read_fex(...).to_polars())")
    if not path.is_file():
        raise MissingInputError(str(path), "no such file", "check the path")
    return pl.scan_parquet(path)


def read_columns(path: str | Path, names: Sequence[str]) -> pd.DataFrame:
    """A few columns of a table that we saved, without reading the others where the format allows.

    Args:
        path: a .csv, .parquet, .feather or .json file.
        names: columns that it holds.

    Raises:
        OptionError: the name ends in none of these.
        MissingInputError: there is no such file.
    """
    path, wanted = Path(path), list(names)
    suffix = suffix_of(path)
    if not path.is_file():
        raise MissingInputError(str(path), "no such file", "check the path")
    if suffix == ".csv":
        return pd.read_csv(path, usecols=wanted)[wanted]
    if suffix == ".json":
        return pd.DataFrame(read_fex(path)[wanted])
    reader = pq.read_table if suffix == ".parquet" else pafeather.read_table
    found: pd.DataFrame = reader(path, columns=wanted).to_pandas(ignore_metadata=True)
    return found[wanted]


def _read_parquet(path: Path) -> Fex:
    with pq.ParquetFile(path) as file:
        return from_arrow(file.read())


def _read_feather(path: Path) -> Fex:
    return from_arrow(pafeather.read_table(path, memory_map=False))


def _read_csv(path: Path) -> Fex:
    size = path.stat().st_size
    if size == 0:
        raise SchemaError("the file is empty")
    # One block, so that a column whose first values are missing is not taken for another type.
    block = min(max(size, 1 << 20), (1 << 31) - 1)
    table = pacsv.read_csv(
        path,
        read_options=pacsv.ReadOptions(block_size=block),
        parse_options=pacsv.ParseOptions(newlines_in_values=True),
        convert_options=pacsv.ConvertOptions(
            column_types=_csv_types(path),
            null_values=_MISSING,
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    table = table.rename_columns([name.strip() for name in table.column_names])
    unnamed = [name for name in ("", "Unnamed: 0") if name in table.column_names]
    frame = conform(from_arrow(table.drop_columns(unnamed)))
    sidecar = sidecar_path(path)
    meta = load_meta(sidecar.read_text(encoding="utf-8")) if sidecar.is_file() else {}
    return Fex(frame, meta=meta) if meta else Fex(frame)


def _csv_types(path: Path) -> dict[str, pa.DataType]:
    """Types of the columns of which we know them, under the names in the file's first line."""
    with path.open(encoding="utf-8", errors="replace") as file:
        header = [name.strip('"\r\n') for name in file.readline().split(",")]
    types: dict[str, pa.DataType] = {}
    for name in header:
        known = column(name)
        if name in _TEXT_COLUMNS or (known is not None and known.dtype == "str"):
            types[name] = pa.string()
        elif known is not None and known.dtype.startswith("float"):
            types[name] = pa.float32() if known.dtype == "float32" else pa.float64()
    return types


def _read_json(path: Path) -> Fex:
    document = _load_document(path)
    frame = conform(pd.DataFrame.from_records(document["rows"], columns=document["columns"]))
    empty = [n for n in frame.columns if n in COLUMNS and frame[n].isna().all()]
    frame = frame.astype({n: COLUMNS[n].dtype for n in empty if COLUMNS[n].dtype != "int64"})
    meta = document[META_KEY]
    return Fex(frame, meta=meta) if meta else Fex(frame)


def _load_document(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SchemaError(f"not JSON: {error}") from error
    if not isinstance(document, dict) or not {META_KEY, "columns", "rows"} <= document.keys():
        raise SchemaError(f"has no {META_KEY!r}, 'columns' and 'rows'")
    return document


_READERS: dict[str, Callable[[Path], Fex]] = {
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".feather": _read_feather,
    ".json": _read_json,
}
