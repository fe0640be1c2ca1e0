"""The table as Arrow: the one bridge to Parquet, Feather and polars.

A missing value is null in Arrow and polars and NaN in pandas.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from featflow.fex.meta import META_KEY, load_meta
from featflow.fex.schema import column
from featflow.fex.table import Fex

if TYPE_CHECKING:
    import polars as pl

_ARROW_TYPES = {
    "float32": pa.float32(),
    "float64": pa.float64(),
    "int64": pa.int64(),
    "bool": pa.bool_(),
    "str": pa.string(),
}


def to_arrow(fex: pd.DataFrame) -> pa.Table:
    """Rows of a table, its index dropped; texts as plain strings, metadata left out."""
    table = pa.Table.from_pandas(pd.DataFrame(fex), preserve_index=False).replace_schema_metadata()
    return table.cast(pa.schema([_plain(field) for field in table.schema]))


def _plain(field: pa.Field) -> pa.Field:
    """The field with one string type, and a type for a column in which all is missing."""
    if pa.types.is_large_string(field.type) or pa.types.is_string_view(field.type):
        return field.with_type(pa.string())
    if pa.types.is_null(field.type):
        known = column(field.name)
        return field.with_type(_ARROW_TYPES[known.dtype if known else "str"])
    return field


def from_arrow(table: pa.Table, meta: Mapping[str, Any] | None = None) -> Fex:
    """A Fex from Arrow; its metadata is that of the Arrow schema unless given."""
    if meta is None:
        meta = load_meta((table.schema.metadata or {}).get(META_KEY.encode()))
    frame = table.replace_schema_metadata().to_pandas()
    return Fex(frame, meta=meta) if meta else Fex(frame)


def to_polars(fex: pd.DataFrame) -> pl.DataFrame:
    """The rows as a polars table."""
    import polars as pl

    table = pl.from_arrow(to_arrow(fex))
    if not isinstance(table, pl.DataFrame):  # pl.from_arrow gives a Series for an array alone
        raise TypeError("an Arrow table became a polars Series")
    return table


def from_polars(table: pl.DataFrame, meta: Mapping[str, Any] | None = None) -> Fex:
    """A Fex from a polars table."""
    return from_arrow(table.to_arrow(), meta)


def conform(frame: pd.DataFrame) -> pd.DataFrame:
    """Give the schema's columns the schema's dtypes, where their values allow it.

    A text format does not keep dtypes. A whole-number column with gaps stays float64, and a
    column whose values do not fit stays as it is.
    """
    dtypes: dict[str, str] = {}
    for name, dtype in frame.dtypes.items():
        known = column(str(name))
        if known is not None and dtype != known.dtype and _fits(frame[name], known.dtype):
            dtypes[str(name)] = known.dtype
    return frame.astype(dtypes) if dtypes else frame


def _fits(values: pd.Series[Any], dtype: str) -> bool:
    if len(values) == 0 or dtype == "str":
        return True
    if not pd.api.types.is_numeric_dtype(values.dtype):
        return bool(values.isna().all()) and dtype.startswith("float")
    if dtype.startswith("float"):
        return not pd.api.types.is_bool_dtype(values.dtype)
    numbers = values.to_numpy(np.float64)
    whole = np.isfinite(numbers).all() and (numbers == np.round(numbers)).all()
    return bool(whole and (dtype != "bool" or np.isin(numbers, (0, 1)).all()))
