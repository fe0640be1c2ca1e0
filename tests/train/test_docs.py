"""The examples of docs/training.md, run as they stand."""

import re
from pathlib import Path

from featflow.train.recipe import read_recipe

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")

PAGE_OF_FACES = (Path(__file__).parents[2] / "docs" / "faces.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)


def test_the_task_and_the_trainer(capsys):
    space = {}
    for block in blocks("python"):
        exec(block, space)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "3.0 -1.0"
    assert printed[-1] == "True"


def test_faces_from_a_table(capsys):
    page = PAGE_OF_FACES
    space = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.S):
        exec(block, space)
        promised = [line.split("# ", 1)[1] for line in block.splitlines() if "# torch" in line]
        promised += ["set()"] if "# set()" in block else []
        assert capsys.readouterr().out.splitlines() == promised


def test_the_recipe(tmp_path):
    (block,) = blocks("toml")
    (tmp_path / "recipe.toml").write_text(block)
    assert read_recipe(tmp_path / "recipe.toml").optim.lr == 2.5e-3
