"""The examples of docs/networks.md, run as they stand, and the names in its table."""

import re
from pathlib import Path

from featflow.nodes.networks import network_names

PAGE = (Path(__file__).parents[3] / "docs" / "networks.md").read_text(encoding="utf-8")


def test_the_examples(capsys):
    space = {"__name__": "example"}
    for example in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(example, "networks.md", "exec"), space)
    told = capsys.readouterr().out
    assert "torch.Size([2, 136])" in told
    assert "py-feat feeds a stretched crop of the box" in told
    assert "\n0 20\n" in told
    assert told.endswith("(4, 5408)\n")


def test_the_table_has_every_network():
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(rows) == [name for name in network_names() if not name.startswith("tha3_")]
