"""The examples of docs/training.md, run as they stand."""

import importlib
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


def names_of(package, name):
    """Whether a dotted name below featflow is there: a module, and what it holds."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join([package, *parts[:cut]]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part, None)
        return found is not None
    return False


def rows_of_names():
    page = (DOCS / "training-api.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", page, re.M)
    return [row for row in rows if row[0] != "there"]


def test_names_and_tests_of_the_page_of_names_exist():
    tests = DOCS.parent / "tests"
    for there, here, held in rows_of_names():
        for name in re.findall(r"`((?:train|datasets)\.[\w.]+)`", here):
            assert names_of("featflow", name), f"{there}: no {name}"
        found = re.findall(r"`([\w/]+\.py)::(\w+)`", held)
        assert found, f"{there}: no test"
        for file, name in found:
            assert f"def {name}(" in (tests / file).read_text(encoding="utf-8"), name


def test_every_name_of_the_other_api_is_on_the_page(shared):
    text = (shared / "reference" / "documents" / "training-api.txt").read_text(encoding="utf-8")
    public = re.findall(r"^(?:class )?lib\.training\.([\w.]+)\(", text, re.M)
    members = re.findall(r"^(?:property |classmethod )?(\w+)\([^)]*\) (?:->|[A-Z])", text, re.M)
    members += re.findall(r"^property (\w+):", text, re.M)
    assert len(public) > 30
    listed = " ".join(row[0] for row in rows_of_names())
    for name in {each.rsplit(".", 1)[-1] for each in public} | set(members):
        assert re.search(rf"\b{name}`", listed), name
