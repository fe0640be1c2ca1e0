"""Every example runs as it stands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _no_window(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    mpl.use("agg")


def test_script_detects_saves_and_draws(tmp_path):
    script = ROOT / "examples" / "detect_clip.py"
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.search(r"\d+ faces in 90 frames", done.stdout)
    assert (tmp_path / "faces.parquet").stat().st_size > 0
    assert (tmp_path / "faces.mp4").stat().st_size > 0


def test_notebook_cells_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((ROOT / "examples" / "first_steps.ipynb").read_text())
    scope: dict[str, object] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), scope)
    assert len(scope["fex"]) > 50


def test_a_node_is_taught_from_a_table(tmp_path, shared):
    script = ROOT / "examples" / "train_from_table.py"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "FEATFLOW_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, str(script), str(shared / "faces"), "24"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.search(r"\d+ faces to learn from, \d+ to test on", done.stdout)
    assert re.search(r"\d+% of \d+ faces", done.stdout)
    assert (tmp_path / "my-emotion" / "card.toml").is_file()


def test_notebook_teaches_a_node(tmp_path, monkeypatch, shared):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEATFLOW_HOME", str(tmp_path / "home"))
    notebook = json.loads((ROOT / "examples" / "train_from_table.ipynb").read_text())
    scope: dict[str, object] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            code = "".join(cell["source"]).replace(
                '"../../shared/faces"', repr(str(shared / "faces"))
            )
            exec(code.replace("PHOTOS = 200", "PHOTOS = 24"), scope)
    assert scope["node"].about["faces"] >= 12  # type: ignore[attr-defined]


@pytest.mark.parametrize("page", ["README.md", "docs/detect.md"])
def test_python_in_the_guides_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "holiday").mkdir()
    from PIL import Image

    from featflow.datasets import sample_photo

    Image.open(sample_photo()).save(tmp_path / "holiday" / "a.jpg")
    scope: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL):
        exec(block, scope)
    assert "Detector" in scope
