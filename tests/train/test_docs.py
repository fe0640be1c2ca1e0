"""The examples of docs/training.md, run as they stand."""

import re
from pathlib import Path

from featflow.train.face_recipe import read_face_recipe
from featflow.train.recipe import read_recipe

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")

DOCS = Path(__file__).parents[2] / "docs"
PAGE_OF_FACES = (DOCS / "faces.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)


def test_the_task_and_the_trainer(capsys):
    space = {}
    for block in blocks("python"):
        exec(block, space)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "3.0 -1.0"
    assert printed[-1] == "True"


def test_face_models_and_teaching(capsys, tmp_path):
    for name, printed in (("face-models", "1"), ("teach-a-node", "emotion/fitted")):
        page = (DOCS / f"{name}.md").read_text(encoding="utf-8")
        for block in re.findall(r"```python\n(.*?)```", page, re.S):
            exec(block, {})
        assert capsys.readouterr().out.strip() == printed
        for block in re.findall(r"```toml\n(.*?)```", page, re.S):
            (tmp_path / "faces.toml").write_text(block)
            assert read_face_recipe(tmp_path / "faces.toml").losses.multipliers["eyes"] == 3.0


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
