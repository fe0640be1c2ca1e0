import hashlib
import shutil

import pytest
import torch
from safetensors.torch import save_file

from featflow.errors import WeightsError
from featflow.nodes.face.tiny.node import FaceTiny
from featflow.nodes.landmark.tiny.node import LandmarkTiny


@pytest.fixture(params=[FaceTiny, LandmarkTiny])
def installed(request, tmp_path, monkeypatch):
    """A node class whose folder holds a card and freshly made weights."""
    made = request.param
    shutil.copy(made.folder() / "card.toml", tmp_path / "card.toml")
    torch.manual_seed(3)
    state = made().build().state_dict()
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "weights.safetensors")
    content = (tmp_path / "weights.safetensors").read_bytes()
    lines = (tmp_path / "card.toml").read_text().splitlines()
    for index, line in enumerate(lines):
        if line.startswith("size_bytes"):
            lines[index] = f"size_bytes = {len(content)}"
        if line.startswith("sha256"):
            lines[index] = f'sha256 = "{hashlib.sha256(content).hexdigest()}"'
    (tmp_path / "card.toml").write_text("\n".join(lines))
    monkeypatch.setattr(made, "folder", classmethod(lambda cls: tmp_path))
    return made, tmp_path, state


def test_the_folder_is_that_of_the_module():
    for made in (FaceTiny, LandmarkTiny):
        assert (made.folder() / "network.py").is_file()
        assert made.folder().parts[-2:] == (made.kind, made.name)


def test_loading_is_lazy_done_once_and_can_be_undone(installed):
    made, _, state = installed
    node = made()
    assert node._model is None
    node.load()
    model = node.model
    node.load("cpu")
    assert node.model is model
    assert not model.training
    name, bias = next((k, v) for k, v in state.items() if k.endswith(("heads.0.bias", "heat.bias")))
    assert torch.equal(model.get_parameter(name), bias)
    node.unload()
    assert node._model is None
    assert node.model is not model


def test_the_hash_is_that_of_the_file(installed):
    made, folder, _ = installed
    content = (folder / "weights.safetensors").read_bytes()
    assert made().weights_hash() == hashlib.sha256(content).hexdigest()


def test_changed_weights_are_refused(installed):
    made, folder, _ = installed
    path = folder / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    node = made()
    with pytest.raises(WeightsError, match="sha256"):
        node.load()
    assert node._model is None


def test_missing_weights_are_named(installed):
    made, folder, _ = installed
    (folder / "weights.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"weights\.safetensors"):
        made().load()
