"""A loaded node has its weights for itself: what becomes of their file does not matter."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from featflow.hub import convert_checkpoint
from featflow.nodes import make_node
from featflow.nodes._published import owning

HUB = Path(__file__).parents[1] / "hub" / "expected"


def overwrite(path):
    """In place, as a download by other means might do; a rename would leave the old file be."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.write(b"\xff" * size)


def test_a_file_that_is_overwritten_later_changes_no_network(expectation, tmp_path):
    path = tmp_path / "pose_mlp_v2.safetensors"
    save_file(expectation("pose_mlp").weights(), path)
    scale = {"mean": [0.0] * 6, "std": [1.0] * 6}
    config = {"architecture": {"output_normalization": scale}}
    path.with_suffix(".json").write_text(json.dumps(config))
    node = make_node("pose", "pose_mlp", {"weights": tmp_path})
    node.load()
    inputs = np.random.default_rng(0).normal(size=(3, 136)).astype(np.float32)
    before = node.process(inputs)
    overwrite(path)
    assert torch.isfinite(before).all()
    assert torch.equal(node.process(inputs), before)


def test_a_file_that_is_overwritten_later_changes_no_classifier(tmp_path):
    path = convert_checkpoint(HUB / "svm.skops", tmp_path / "svm_au_classifier_v2.safetensors")
    node = make_node("au", "svm", {"weights": path})
    node.load()
    saved = np.load(HUB / "predictions.npz")
    inputs = saved["hog"], saved["points"]
    before = node.process(inputs)
    overwrite(path)
    assert np.isfinite(before).any()
    np.testing.assert_array_equal(node.process(inputs), before)


def test_shared_tensors_stay_shared_and_others_stay_where_they_are():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.BatchNorm1d(2)).eval()
    model[1].weight = model[0].weight
    kept, shared = model[1].bias, model[0].weight
    read = {shared.data_ptr(), model[2].running_var.data_ptr()}
    values = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    assert owning(model, read) is model
    assert model[0].weight is model[1].weight
    assert model[1].bias is kept
    assert model[0].weight.data_ptr() not in read
    assert model[2].running_var.data_ptr() not in read
    assert isinstance(model[0].weight, nn.Parameter)
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, values[key])
