import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import typer
from safetensors.torch import load_file
from typer.testing import CliRunner

from featflow.cli import download as command
from featflow.hub import HubTransport, cache_folder
from featflow.nodes import available, card_of

runner = CliRunner()


@pytest.fixture
def app(tmp_path, monkeypatch):
    monkeypatch.setenv("FEATFLOW_HOME", str(tmp_path / "home"))
    for name in ("FEATFLOW_WEIGHTS", "FEATFLOW_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    made = typer.Typer()
    command.register(made)
    return made


@pytest.fixture
def fetched(monkeypatch):
    """Replaces the network: every file is its own name."""
    asked = []

    def fetch(self, repository, revision, name, folder):
        asked.append((repository, name))
        (folder / name).write_text(name)
        return folder / name

    monkeypatch.setattr(HubTransport, "fetch", fetch)
    return asked


def said(result):
    return re.sub(r"\s+", " ", result.output)


def test_weights_are_fetched_into_the_cache_once(app, fetched):
    for _ in range(2):
        result = runner.invoke(app, ["download", "landmark/pfld", "face/img2pose"])
        assert result.exit_code == 0, result.output
        assert fetched == [
            ("py-feat/pfld", "pfld_model_best.pth.tar"),
            ("py-feat/img2pose", "model.safetensors"),
            ("py-feat/img2pose", "config.json"),
        ]
        assert "face/img2pose: " in result.output
        assert "(CC-BY-NC-4.0, not for commercial use)" in said(result)
    path = cache_folder() / "py-feat--pfld/main/pfld_model_best.pth.tar"
    assert path.read_text() == path.name
    assert str(path) in result.output


def test_all_of_them(app, fetched):
    assert runner.invoke(app, ["download", "--all"]).exit_code == 0
    published = [card_of(name).source for name in available()]
    assert {r for r, _ in fetched} == {s.repository for s in published if s is not None}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "name the nodes to download"),
        (["face/retinaface", "--all"], "and not both"),
        (["landmark/tiny"], "nothing to download for landmark/tiny"),
        (["face/retina"], "known face nodes: .*retinaface"),
    ],
)
def test_wrong_arguments_are_told(app, fetched, arguments, told):
    result = runner.invoke(app, ["download", *arguments])
    assert result.exit_code != 0
    assert re.search(told, said(result))
    assert fetched == []


def test_no_network_is_one_error(app, monkeypatch):
    monkeypatch.setenv("FEATFLOW_OFFLINE", "1")
    result = runner.invoke(app, ["download", "landmark/pfld"])
    assert result.exit_code != 0
    assert "one of three ways" in said(result)
    assert "Traceback" not in result.output


def test_a_checkpoint_is_converted(app, tmp_path):
    weights = {"a": torch.arange(3.0)}
    torch.save({"state_dict": weights}, tmp_path / "w.pth")
    result = runner.invoke(app, ["convert-weights", str(tmp_path / "w.pth")])
    assert result.exit_code == 0, result.output
    assert torch.equal(load_file(tmp_path / "w.safetensors")["a"], weights["a"])


def test_a_skops_file_is_converted_or_refused(app, tmp_path):
    expected = Path(__file__).parents[1] / "hub" / "expected" / "svm_emo.skops"
    (tmp_path / "w.skops").write_bytes(expected.read_bytes())
    result = runner.invoke(app, ["convert-weights", str(tmp_path / "w.skops")])
    assert result.exit_code == 0, result.output
    assert load_file(tmp_path / "w.safetensors")["projection.full.components"].shape == (5, 20)
    root = {"__class__": "system", "__module__": "os", "__loader__": "FunctionNode", "protocol": 2}
    with zipfile.ZipFile(tmp_path / "x.skops", "w") as archive:
        archive.writestr("schema.json", json.dumps(root))
    result = runner.invoke(app, ["convert-weights", str(tmp_path / "x.skops")])
    assert result.exit_code == 1
    assert "os.system (FunctionNode)" in said(result)
    assert not (tmp_path / "x.safetensors").exists()


def test_the_state_of_weights(app, fetched):
    card = card_of("landmark/pfld")
    assert command.weights_state(card) == "3.0 MB, to download"
    runner.invoke(app, ["download", "landmark/pfld"])
    assert command.weights_state(card) == "3.0 MB, here"
    unknown = replace(card, source=replace(card.source, tensor_bytes=0))
    assert command.weights_state(unknown) == "0.0 MB, here"  # what the file has
    absent = card_of("au/svm")
    assert command.weights_state(absent) == "? MB, to download"
    assert command.weights_state(card_of("landmark/tiny")) == "1.9 MB, here"
    assert command.weights_state(card_of("mask/hull")) == "none"


def test_nodes_tells_of_every_node_whether_it_is_here_its_size_and_licence(
    app, fetched, tmp_path, monkeypatch
):
    from featflow.cli import nodes

    monkeypatch.setenv("FEATFLOW_WEIGHTS", str(tmp_path / "mine"))
    (tmp_path / "mine/au/xgb").mkdir(parents=True)
    (tmp_path / "mine/au/xgb/xgb_au_classifier_v2.skops").write_bytes(b"x" * 2_600_000)
    nodes.register(app)
    runner.invoke(app, ["download", "landmark/pfld"])
    result = runner.invoke(app, ["nodes"])
    assert result.exit_code == 0, result.output
    lines = {line.split()[0]: line for line in result.output.splitlines() if "/" in line}
    assert set(available()) <= lines.keys()
    for name in available():
        card = card_of(name)
        assert card.licence in lines[name]
        assert ("to download" in lines[name]) == (
            card.source is not None and name not in ("landmark/pfld", "au/xgb")
        )
        if card.size_bytes or card.source:
            assert re.search(r"[\d?] MB, (here|to download) ", lines[name])
    assert "3.0 MB, here" in lines["landmark/pfld"]
    assert "2.6 MB, here" in lines["au/xgb"]
    size = card_of("emotion/resmasknet").source.tensor_bytes / 1e6
    assert f"{size:.1f} MB, to download" in lines["emotion/resmasknet"]


def test_a_narrow_terminal_cuts_off_no_name_and_no_licence(app, fetched, monkeypatch):
    from rich.console import Console

    from featflow.cli import nodes

    monkeypatch.setattr(nodes, "results", Console(highlight=False, width=80))
    nodes.register(app)
    result = runner.invoke(app, ["nodes"])
    assert result.exit_code == 0, result.output
    assert max(map(len, result.output.splitlines())) <= 80
    assert "\N{HORIZONTAL ELLIPSIS}" not in result.output
    head, *lines = result.output.splitlines()
    assert {line.split()[0] for line in lines if not line.startswith(" ")} == set(available())
    span = slice(head.index("licence"), head.index("commercial"))
    licences = "".join(line[span].strip() for line in lines)
    assert "LicenseRef-InsightFace-non-commercial-research" in licences
