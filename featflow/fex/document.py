"""The page ``docs/table.md``: its list of columns is made from the schema."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from featflow.errors import SchemaError
from featflow.fex.schema import GROUPS, Column, Group
from featflow.files import write_text_atomic

START, END = "<!-- columns: made by featflow.fex.document -->", "<!-- end of columns -->"


def columns_markdown() -> str:
    """Every column with unit, range and meaning, as Markdown tables, one a group."""
    return "\n".join(line for group in GROUPS.values() for line in _group_lines(group))


def update_page(path: str | Path) -> None:
    """Put the list of columns between the two marks of a page.

    Raises:
        SchemaError: the page lacks the marks.
    """
    path = Path(path)
    text = path.read_text(encoding="utf-8")
    if START not in text or END not in text:
        raise SchemaError(f"{path}: lacks the marks {START} and {END}")
    before, rest = text.split(START)
    after = rest.split(END)[1]
    write_text_atomic(path, f"{before}{START}\n\n{columns_markdown()}\n{END}{after}")


def _group_lines(group: Group) -> Iterator[str]:
    yield f"### {group.name}"
    yield ""
    made_by = f" Made by the node in the `{group.slot}` slot." if group.slot else ""
    yield f"{group.description}{made_by}"
    yield ""
    yield "| column | unit | range | type | meaning |"
    yield "|---|---|---|---|---|"
    columns = (group.family,) if group.family else group.columns
    for run in _runs(columns):
        yield _row(run)
    yield ""


def _runs(columns: Sequence[Column]) -> Iterator[list[Column]]:
    """Columns one by one; numbered ones (``x_0``, ``x_1``, ...) together."""
    run: list[Column] = []
    for column in columns:
        if run and not _continues(run[-1].name, column.name):
            yield run
            run = []
        run.append(column)
    yield run


def _continues(name: str, following: str) -> bool:
    head, _, number = name.rpartition("_")
    return number.isdecimal() and following == f"{head}_{int(number) + 1}"


def _row(run: Sequence[Column]) -> str:
    first, last = run[0], run[-1]
    name = f"`{first.name.format('1')}`"
    meaning = first.description
    if len(run) > 1:
        name = f"`{first.name}` ... `{last.name}`"
        meaning = first.description.replace("point 0", "each point")
    elif "{}" in first.name:
        name = f"`{first.name.format('1')}` ... `{first.name.format('D')}`"
    cells = (name, first.unit or "-", _range(first), first.dtype, meaning)
    return f"| {' | '.join(cells)} |"


def _range(column: Column) -> str:
    if column.dtype == "str":
        return "text"
    if column.dtype == "bool":
        return "true or false"
    if math.isinf(column.low) and math.isinf(column.high):
        return "any"
    if math.isinf(column.high):
        return f"{_number(column.low)} or more"
    return f"{_number(column.low)} to {_number(column.high)}"


def _number(value: float) -> str:
    for factor, name in ((math.pi, "pi"), (math.pi / 2, "pi/2")):
        if abs(value) == factor:
            return f"-{name}" if value < 0 else name
    return f"{value:g}"
