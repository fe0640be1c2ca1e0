"""The examples of docs/flow.md and docs/write-a-node.md, run as they stand."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page, language):
    """Code blocks of a page."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


def test_the_flow_page(capsys):
    space = {}
    for block in blocks("flow.md", "python"):
        exec(block, space)
    assert capsys.readouterr().out == (
        "(40, 4)\nFlow(face/whole)\n3\n[[0.0, 0.0, 64.0, 48.0]]\n[]\n"
    )


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The distribution of write-a-node.md, laid out as pip installs it."""
    module, use = blocks("write-a-node.md", "python")
    card, project = blocks("write-a-node.md", "toml")
    package = tmp_path / "featflow_brightness"
    package.mkdir()
    (package / "__init__.py").write_text(module)
    (package / "card.toml").write_text(card)
    entries = tomllib.loads(project)["project"]["entry-points"]["featflow.nodes"]
    info = tmp_path / "featflow_brightness-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: x\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in entries.items()]
    (info / "entry_points.txt").write_text("\n".join(["[featflow.nodes]", *lines]))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield use
    sys.modules.pop("featflow_brightness", None)


def test_the_node_page(installed, capsys):
    space = {}
    exec(installed, space)
    out = capsys.readouterr().out
    assert out.startswith("['quality/brightness']\nMean grey value")
    assert space["report"].node == "quality/brightness"
    assert space["report"].faces == 8


def test_the_node_of_the_page_in_a_flow(installed, toys):
    import numpy as np

    from featflow.flow import Flow
    from featflow.nodes import make_node

    frame = toys.frame(4, 2, size=16)  # the second face is in the box (4, 1, 12, 9)
    frame.image[:, 3:] = (255, 0, 0)
    node = make_node("quality", "brightness")
    (batch,) = Flow([toys.Detector(), node]).run([[frame]])
    assert np.allclose(batch.faces.fields["brightness"][1], 0.299)  # red in ITU-R BT.601
