"""The examples of docs/tuning.md, run as they stand."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "tuning.md").read_text(encoding="utf-8")


def test_the_examples(capsys):
    space = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.S):
        exec(block, space)
    assert capsys.readouterr().out == "['pose/mlp'] cpu\nTrue\n3\nchannels_first\n"
