"""From the table back to fields of faces, and fields of faces into a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featflow.errors import SchemaError
from featflow.fex.schema import DECISION, GROUPS, SOURCE, Group
from featflow.fex.table import Fex
from featflow.flow.batch import SHAPES

Rows = NDArray[np.int64]


def fields_of(table: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """What a table says of its faces, as fields of a batch; the inverse of writing them.

    A field is there if all its columns are. Marks and sources are no fields of a face here.

    Returns:
        Field name to (rows, ...) array, float32 for numbers.

    Raises:
        SchemaError: a column that should hold numbers does not.
    """
    fields: dict[str, NDArray[Any]] = {}
    for group in _predicted():
        packed = _packed_columns(group, table)
        if packed:
            values = group.unpack(_numbers(table, packed))
            shape = SHAPES.get(group.field, values.shape[1:])
            fields[group.field] = values.reshape(len(table), *shape)
        for column, field in group.single_fields.items():
            if column in table.columns:
                fields[field] = _single(table, column)
    return fields


def set_fields(
    table: pd.DataFrame, fields: Mapping[str, NDArray[Any]], rows: Rows | None = None
) -> Fex:
    """A copy of a table with the columns of some fields added or replaced.

    Args:
        table: any table.
        fields: field to (N, ...) values; those that the schema has no column for are left out.
        rows: (N,) row of each value, None for all in order; other rows get missing values.

    Returns:
        The same rows; columns of the schema in its order, then those it does not know.
    """
    at = np.arange(len(table)) if rows is None else rows
    made: dict[str, Any] = {}
    for group in _predicted():
        if group.field in fields:
            values = group.pack(np.asarray(fields[group.field], np.float32))
            block = np.full((len(table), values.shape[1]), np.nan, np.float32)
            block[at] = values
            made.update(zip(group.packed_names(values.shape[1]), block.T, strict=True))
        for column, field in group.single_fields.items():
            if field in fields:
                made[column] = _spread(np.asarray(fields[field]), at, len(table))
    gone = [name for name in _replaced(table, fields) if name not in made]
    kept = table[[name for name in table.columns if name not in made and name not in gone]]
    joined = pd.concat([kept, pd.DataFrame(made, index=table.index)], axis=1)
    return Fex(joined[column_order(joined.columns)]).__finalize__(table)


def column_order(columns: pd.Index[str]) -> list[str]:
    """Columns of the schema in its order, then the others in theirs."""
    known = [name for group in GROUPS.values() for name in group.present(columns)]
    return [*known, *(name for name in columns if name not in set(known))]


def _predicted() -> list[Group]:
    return [group for group in GROUPS.values() if group not in (SOURCE, DECISION)]


def _packed_columns(group: Group, table: pd.DataFrame) -> list[str]:
    """Columns of the group's field; none unless all are there."""
    present = [name for name in group.present(table.columns) if name not in group.single_fields]
    complete = bool(group.field) and (group.family or len(present) == len(group.packed_names()))
    return present if complete else []


def _replaced(table: pd.DataFrame, fields: Mapping[str, Any]) -> list[str]:
    """Numbered columns of fields that are replaced: the new vector may be shorter."""
    return [
        name
        for group in _predicted()
        if group.family and group.field in fields
        for name in group.present(table.columns)
    ]


def _single(table: pd.DataFrame, column: str) -> NDArray[Any]:
    if pd.api.types.is_numeric_dtype(table[column].dtype):
        return _numbers(table, [column])[:, 0]
    return table[column].to_numpy(object)


def _numbers(table: pd.DataFrame, names: list[str]) -> NDArray[np.float32]:
    try:
        return np.asarray(table[names].to_numpy(np.float32, na_value=np.nan))
    except (TypeError, ValueError) as error:
        raise SchemaError(f"columns {names[0]}..{names[-1]} must hold numbers: {error}") from error


def _spread(values: NDArray[Any], rows: Rows, count: int) -> Any:
    if values.dtype.kind in "fiub":
        numbers = np.full(count, np.nan, np.float32)
        numbers[rows] = values
        return numbers
    texts = np.full(count, None, object)
    texts[rows] = values
    return pd.array(texts, dtype="str")
