import hashlib
import json
import math
import tomllib

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import featflow
from featflow.errors import OutputError, RecipeError, TrainingError
from featflow.nodes._cards import Card, read_card
from featflow.nodes._weights import load_weights
from featflow.train import run as run_module
from featflow.train.export import export_weights
from featflow.train.recipe import Optim, Recipe, read_recipe
from featflow.train.run import build_task, train

CARD = """id = "toy/line"
summary = "sha256 = of nothing; size_bytes = 7"
size_bytes = 0
sha256 = ""
licence = "MIT"
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of where built-in nodes live, with one node that has a card."""
    folder = tmp_path / "featflow" / "nodes" / "toy" / "line"
    folder.mkdir(parents=True)
    (folder / "card.toml").write_text(CARD)
    monkeypatch.setattr(featflow, "__file__", str(tmp_path / "featflow" / "__init__.py"))
    return folder


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(
        memory_format=torch.channels_last
    )


def test_matrices_are_halved_and_vectors_are_not(package):
    state = network().state_dict()
    noted = export_weights("toy/line", state)
    stored = load_file(package / "weights.safetensors")
    assert stored.keys() == state.keys()
    assert stored["0.weight"].dtype == torch.float16
    assert torch.equal(stored["0.weight"], state["0.weight"].half())
    for name in ("0.bias", "1.weight", "1.running_var"):
        assert stored[name].dtype == torch.float32
        assert torch.equal(stored[name], state[name])
    assert stored["1.num_batches_tracked"].dtype == torch.int64
    content = (package / "weights.safetensors").read_bytes()
    assert noted == {
        "file": "weights.safetensors",
        "size_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def test_the_card_is_told_size_and_hash_and_nothing_else_changes(package):
    noted = export_weights("toy/line", network().state_dict())
    card = tomllib.loads((package / "card.toml").read_text())
    expected = tomllib.loads(CARD)
    expected |= {"size_bytes": noted["size_bytes"], "sha256": noted["sha256"]}
    assert card == expected
    assert sorted(p.name for p in package.iterdir()) == ["card.toml", "weights.safetensors"]


def test_what_is_exported_can_be_loaded_again(package):
    model = network()
    noted = export_weights("toy/line", model.state_dict())
    other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    empty = dict.fromkeys(("summary", "licence", "data", "method", "consent"), "x")
    card = Card(
        **empty, id="toy/line", commercial_use=True, size_bytes=noted["size_bytes"],
        sha256=noted["sha256"], requires=(), provides=(), limits=(), metrics={},
    )  # fmt: skip
    load_weights(other, package / "weights.safetensors", card)
    worst = (other[0].weight - model[0].weight).abs() / model[0].weight.abs()
    assert 0 < worst.max() < 2**-10


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e6])
def test_unusable_weights_never_replace_the_shipped_ones(package, value):
    export_weights("toy/line", network().state_dict())
    before = {p.name: p.read_bytes() for p in package.iterdir()}
    state = network().state_dict()
    state["0.weight"][1, 2, 0, 1] = value
    with pytest.raises(TrainingError, match=r"0\.weight"):
        export_weights("toy/line", state)
    assert {p.name: p.read_bytes() for p in package.iterdir()} == before


def test_a_node_without_a_folder_is_named(package):
    with pytest.raises(OutputError, match="other"):
        export_weights("toy/other", network().state_dict())


RECIPE = """
[node]
id = "toy/line"
seed = 3
[optim]
steps = 200
batch_size = 16
lr = 0.1
warmup = 10
weight_decay = 0.0
ema = 0.9
validate_every = 100
save_every = 60
"""


def test_from_recipe_to_weights_and_record(package, tmp_path, monkeypatch, line):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    task = line()[1]
    monkeypatch.setattr(run_module, "build_task", lambda recipe: task)
    results = train(read_recipe(path), tmp_path / "work" / "deep")
    assert results == json.loads((tmp_path / "results.json").read_text())
    training = results["training"]
    assert results["node"] == "toy/line"
    assert training["validation"]["slope"] == pytest.approx(2.5, abs=0.02)
    assert training["validation"]["offset"] == pytest.approx(-1.25, abs=0.02)
    assert (training["seed"], training["steps"], training["batch_size"]) == (3, 200, 16)
    assert training["data_version"] == "synthetic line"
    assert training["parameters"] == 4
    assert [row["step"] for row in training["curve"]] == [50, 100, 150, 200]
    assert training["curve"][1]["val_slope"] == pytest.approx(2.5, abs=0.3)
    losses = [row["loss"] for row in training["curve"]]
    assert losses[0] > 10 * losses[-1]
    content = (package / "weights.safetensors").read_bytes()
    assert hashlib.sha256(content).hexdigest() == training["sha256"]
    shipped = load_file(package / "weights.safetensors")
    assert shipped["linear.weight"].item() == pytest.approx(2.5, abs=0.02)
    assert shipped["linear.bias"].item() == training["validation"]["offset"]


def test_the_record_is_json_even_where_a_figure_is_not_a_number(
    package, tmp_path, monkeypatch, line
):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.replace("200", "5"))
    task = line()[1]
    task.validate = lambda model: {"nme": math.nan, "n": 3.0}
    monkeypatch.setattr(run_module, "build_task", lambda recipe: task)
    train(read_recipe(path), tmp_path / "work")

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    read = json.loads((tmp_path / "results.json").read_text(), parse_constant=refuse)
    assert read["training"]["validation"] == {"nme": None, "n": 3.0}


@pytest.mark.parametrize("node", ["nothing/here", "face/nothing", "mask/hull"])
def test_a_node_that_cannot_be_trained_is_named(node):
    with pytest.raises(RecipeError, match=node):
        build_task(Recipe(node, 0, Optim(1, 1)))


def test_a_library_that_is_missing_is_not_called_a_missing_node(monkeypatch):
    def importing(name):
        raise ModuleNotFoundError("No module named 'numba'", name="numba")

    monkeypatch.setattr(run_module.importlib, "import_module", importing)
    with pytest.raises(ModuleNotFoundError, match="numba"):
        build_task(Recipe("face/tiny", 0, Optim(1, 1)))


@pytest.mark.parametrize("node", ["face/tiny", "landmark/tiny"])
@pytest.mark.parametrize(
    ("model", "data", "named"),
    [({"width": 3}, {"root": "x"}, "width"), ({}, {}, "root"), ({}, {"root": "x", "z": 1}, "z")],
)
def test_unknown_options_of_the_built_in_tasks_are_recipe_errors(node, model, data, named):
    with pytest.raises(RecipeError, match=named):
        build_task(Recipe(node, 0, Optim(1, 1), model, data))


def test_the_cards_of_the_repository_can_be_read():
    folder = run_module.Path(run_module.__file__).parents[1] / "nodes"
    for node in ("face/tiny", "landmark/tiny"):
        assert read_card(folder / node / "card.toml").id == node


def test_the_command_trains_resumes_and_prints_the_figures(
    package, tmp_path, monkeypatch, capsys, line
):
    from featflow.cli.app import run

    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    tasks = []

    def build(recipe):
        tasks.append(line(steps=recipe.optim.steps)[1])
        return tasks[-1]

    monkeypatch.setattr(run_module, "build_task", build)
    command = ["train", str(path), "--work", str(tmp_path / "work")]
    assert run([*command, "--set", "optim.steps=60"]) == 0
    printed = capsys.readouterr()
    assert not (tmp_path / "results.json").exists()
    results = json.loads((tmp_path / "work" / "results.json").read_text())["training"]
    assert json.loads(printed.out) == results["validation"]
    assert results["steps"] == 60
    assert "step 50/60" in printed.err
    assert run([*command, "--set", "optim.steps=80", "--resume", "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    assert tasks[0].steps == list(range(60))
    assert tasks[1].steps == list(range(60, 80))


def test_a_bad_recipe_is_one_line_and_an_exit_code(tmp_path, capsys):
    from featflow.cli.app import run

    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    assert run(["train", str(path), "--set", "optim.stepz=5"]) == 2
    assert "stepz" in capsys.readouterr().err
