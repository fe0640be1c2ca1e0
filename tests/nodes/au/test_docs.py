"""The examples of docs/action-units.md, run as they stand, and its table."""

import re
from pathlib import Path

from featflow.nodes.au.tiny.units import RULES, UNITS

PAGE = (Path(__file__).parents[3] / "docs" / "action-units.md").read_text(encoding="utf-8")


def test_the_examples(capsys):
    space = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.S):
        exec(block, space)
    assert "AU12" in capsys.readouterr().out


def test_the_table_is_that_of_the_rules():
    rows = re.findall(r"^\| (AU\d\d) [^|]*\| ([^|]*) \| ?(\w*)", PAGE, re.M)
    assert [unit for unit, _, _ in rows] == list(UNITS)
    for unit, shapes, side in rows:
        rule = RULES.get(unit)
        assert re.findall(r"\b[a-z]+[A-Z]\w+", shapes) == list(rule.shapes if rule else ())
        if rule and len(rule.shapes) > 1:
            assert shapes.startswith("mean of" if rule.join == "mean" else "the larg")
        if side:
            assert side == {"mean": "mean", "max": "larger"}[rule.sides]
