import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest

CARD = """
id = "toy/foreign"
summary = "Twice the score."
licence = "MIT"
commercial_use = true
size_bytes = 0
sha256 = ""
requires = ["box"]
provides = ["twice"]
data = "none"
method = "a formula"
limits = ["means nothing"]
consent = "no people"

[metrics]
error = 0.0
"""

MODULE = """
import numpy as np
from featflow.flow import Node


class Twice(Node):
    kind, name, unit = "toy", "foreign", "face"
    requires, provides = ("box",), ("twice",)
    shapes = {"twice": ()}

    def __init__(self, gain: float = 2.0, *, offset: float = 0.0) -> None:
        super().__init__()
        self.gain = gain

    def pre_process(self, batch):
        return batch.faces.box[:, 0]

    def process(self, inputs):
        return self.gain * inputs

    def post_process(self, batch, outputs):
        return {"twice": outputs}
"""


@pytest.fixture
def card_text():
    return CARD


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Lay a distribution with entry points on the path, as pip would."""

    def lay(entries, module=MODULE, card=CARD, package="toydist"):
        folder = tmp_path / package
        folder.mkdir()
        (folder / "__init__.py").write_text(textwrap.dedent(module))
        if card:
            (folder / "card.toml").write_text(card)
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"{name} = {value}" for name, value in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(["[featflow.nodes]", *lines, ""]))
        return SimpleNamespace(path=Path(folder), package=package)

    monkeypatch.syspath_prepend(str(tmp_path))
    yield lay
    import sys

    for name in [n for n in sys.modules if n.startswith(("toydist", "otherdist"))]:
        del sys.modules[name]
