"""The examples of docs/weights.md run."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "weights.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_example(number, home, capsys):
    exec(compile(EXAMPLES[number], f"{PAGE.name}:{number}", "exec"), {"__name__": "example"})
    if "print" in EXAMPLES[number]:
        assert capsys.readouterr().out


def test_the_page_has_its_examples():
    assert len(EXAMPLES) == 3
