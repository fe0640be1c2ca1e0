"""The examples of docs/datasets.md run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "datasets.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_example(number, tmp_path_factory, monkeypatch, capsys):
    home = tmp_path_factory.getbasetemp() / "docs-home"
    monkeypatch.setenv("FEATFLOW_HOME", str(home))
    exec(compile(EXAMPLES[number], f"{PAGE.name}:{number}", "exec"), {"__name__": "example"})
    assert EXAMPLES
    if "print" in EXAMPLES[number]:
        assert capsys.readouterr().out
