"""The examples of docs/masks.md, run as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "masks.md"


def test_the_page_on_masks() -> None:
    space: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S):
        exec(block, space)
    assert space["stored"].centring == "points5"
    assert space["stored"].pixels.shape == (128, 128)
    assert (space["folder"] / "faces.csv.masks.parquet").is_file()
