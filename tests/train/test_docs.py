"""The examples of docs/training.md, run as they stand."""

import re
from pathlib import Path

from featflow.train.recipe import read_recipe

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)


def test_the_task_and_the_trainer(capsys):
    space = {}
    for block in blocks("python"):
        exec(block, space)
    assert capsys.readouterr().out == "3.0 -1.0\n"


def test_the_recipe(tmp_path):
    (block,) = blocks("toml")
    (tmp_path / "recipe.toml").write_text(block)
    assert read_recipe(tmp_path / "recipe.toml").optim.lr == 2.5e-3
