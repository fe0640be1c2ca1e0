from dataclasses import asdict
from pathlib import Path

import pytest

from featflow.cli.training import _change
from featflow.errors import RecipeError
from featflow.train.recipe import Optim, Recipe, build_model, data_root, read_recipe

GOOD = """
[node]
id = "landmark/tiny"
seed = 5
[data]
root = "somewhere"
[model]
widths = [4, 8, 8, 8]
[optim]
steps = 7
batch_size = 3
lr = 1
"""


@pytest.fixture
def write(tmp_path):
    def to_file(text):
        path = tmp_path / "recipe.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return to_file


def test_every_value_of_the_file_arrives(write):
    path = write(GOOD)
    recipe = read_recipe(path)
    expected = asdict(Optim(steps=7, batch_size=3, lr=1.0))
    assert asdict(recipe.optim) == expected
    assert type(recipe.optim.lr) is float
    assert (recipe.node, recipe.seed, recipe.path) == ("landmark/tiny", 5, path)
    assert recipe.model == {"widths": [4, 8, 8, 8]}
    assert recipe.data == {"root": "somewhere"}


def test_the_recipes_of_the_repository_are_good():
    paths = sorted((Path(__file__).parents[2] / "nodes").glob("*/*/recipe.toml"))
    assert paths
    for path in paths:
        assert read_recipe(path).node == "/".join(path.parts[-3:-1])


def test_overrides_win_and_may_add_tables(write):
    changes = [
        "optim.steps=11",
        "optim.lr=2e-4",
        "node.id=face/tiny",
        "data.root=../x",
        "model.a=[1]",
    ]
    recipe = read_recipe(write(GOOD), dict(_change(text) for text in changes))
    assert (recipe.optim.steps, recipe.optim.lr, recipe.optim.batch_size) == (11, 2e-4, 3)
    assert (recipe.node, recipe.data) == ("face/tiny", {"root": "../x"})
    assert recipe.model == {"widths": [4, 8, 8, 8], "a": [1]}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"optim.stepz": 1}, "stepz"),
        ({"node.sed": 1}, "sed"),
        ({"optum.steps": 1}, "optum"),
        ({"steps": 1}, "steps"),
        ({"optim.steps": 0}, "steps"),
        ({"optim.steps": 10.5}, "steps"),
        ({"optim.steps": True}, "steps"),
        ({"optim.batch_size": "many"}, "batch_size"),
        ({"optim.batch_size": -1}, "batch_size"),
        ({"optim.save_every": 0}, "save_every"),
        ({"optim.lr": float("nan")}, "lr"),
        ({"optim.lr": "fast"}, "lr"),
        ({"optim.lr": -1e-3}, "lr"),
        ({"optim.ema": 1.0}, "ema"),
        ({"optim.clip": float("inf")}, "clip"),
        ({"node.seed": "x"}, "seed"),
        ({"node.seed": -1}, "seed"),
        ({"node.id": "landmark"}, "landmark"),
        ({"node.id": "../etc/passwd"}, "passwd"),
        ({"node.id": 3}, "id"),
    ],
)
def test_a_bad_value_is_named(write, change, named):
    with pytest.raises(RecipeError, match=named):
        read_recipe(write(GOOD), change)


@pytest.mark.parametrize(
    "text",
    [
        "node = 3\n[optim]\nsteps = 1\nbatch_size = 1\n",
        "[optim]\nsteps = 1\nbatch_size = 1\n",
        '[node]\nid = "a/b"\n[optim]\nsteps = 1\n',
        '[node]\nid = "a/b"\n[optim]\nbatch_size = 1\n',
        '[node]\nid = "a/b"\n',
        "[node\n",
        b"\xff\xfe\x00",
    ],
)
def test_a_bad_file_is_named(write, text):
    path = write(text)
    with pytest.raises(RecipeError, match=path.name):
        read_recipe(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RecipeError, match="nowhere"):
        read_recipe(tmp_path / "nowhere.toml")


def _recipe(model=None, data=None):
    return Recipe("a/b", 0, Optim(1, 1), model or {}, data or {}, Path("r.toml"))


def test_the_model_table_reaches_the_network_and_unknown_options_do_not():
    def network(size, widths=(1,), depth=2):
        return size, widths, depth

    assert build_model(_recipe({"depth": 5}), network, 112) == (112, (1,), 5)
    with pytest.raises(RecipeError, match="dept"):
        build_model(_recipe({"dept": 5}), network, 112)
    with pytest.raises(RecipeError, match="size"):
        build_model(_recipe({"size": 5}), network, 112)


def test_data_root_is_the_only_key():
    assert data_root(_recipe(data={"root": "x"})) == "x"
    for wrong in ({}, {"root": 3}, {"root": "x", "rooot": "y"}):
        with pytest.raises(RecipeError, match="roo"):
            data_root(_recipe(data=wrong))
