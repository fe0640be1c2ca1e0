"""The examples of docs/gaze.md, run as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

PAGE = Path(__file__).parents[4] / "docs" / "gaze.md"


def test_the_page_on_gaze() -> None:
    space: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S):
        exec(block, space)
    x, y, z, angle = (float(space[name]) for name in ("x", "y", "z", "angle"))
    assert np.isclose(x * x + y * y + z * z, 1)
    assert np.isclose(np.degrees(np.arccos(z)), angle, atol=1e-2)
