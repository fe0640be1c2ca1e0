"""The page on the table: its columns are the schema's, and its examples run."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from featflow.errors import SchemaError
from featflow.fex.document import END, START, columns_markdown, update_page
from featflow.fex.schema import COLUMNS, GROUPS

PAGE = Path(__file__).parents[2] / "docs" / "table.md"


def test_page_is_up_to_date(tmp_path: Path) -> None:
    """Otherwise run ``update_page("docs/table.md")`` of featflow.fex.document."""
    copy = tmp_path / "table.md"
    shutil.copy(PAGE, copy)
    update_page(copy)
    assert copy.read_text() == PAGE.read_text()


def test_every_column_is_listed_with_its_unit() -> None:
    lines = columns_markdown().splitlines()
    for name in {*COLUMNS} - set(GROUPS["landmark"].names()):
        (line,) = [line for line in lines if line.startswith(f"| `{name}` |")]
        assert line.split(" | ")[1] == (COLUMNS[name].unit or "-")
    text = "\n".join(lines)
    assert "| `x_0` ... `x_67` | px | any | float32 | Horizontal coordinate of each point" in text
    assert "| `Identity_1` ... `Identity_D` |" in text
    assert "| `Yaw` | rad | -pi to pi | float32 |" in text


def test_a_page_without_marks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(f"{START}")
    with pytest.raises(SchemaError, match="lacks the marks"):
        update_page(tmp_path / "a.md")
    assert END not in (tmp_path / "a.md").read_text()


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
    names: dict[str, object] = {}
    exec(compile(code, str(PAGE), "exec"), names)
    plt.close("all")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "faces.csv",
        "faces.csv.meta.json",
        "faces.parquet",
        "run.parquet",
    ]
