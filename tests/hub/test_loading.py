"""A published node from the hub on the loopback address to its network, and what goes wrong."""

import io
import pickle
from pathlib import Path

import pytest
import torch

from featflow.errors import WeightsError
from featflow.hub import lookup
from featflow.nodes import card_of, make_node
from featflow.nodes.networks import network

NAME = "py-feat/pfld/pfld_model_best.pth.tar"


class Poison:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(0)
    return network("pfld").state_dict()


@pytest.fixture
def node(home, transport, monkeypatch):
    """``landmark/pfld``, which will fetch its weights from the server."""
    monkeypatch.setattr(lookup, "HubTransport", lambda: transport)
    return make_node("landmark", "pfld")


def packed(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def test_fetched_loaded_and_run(hub, node, weights):
    hub.files[NAME] = packed({"state_dict": weights})
    node.load()
    node.unload()
    node.load()
    assert len(hub.bodies()) == 1
    model = network("pfld")
    model.load_state_dict(weights)
    x = torch.rand(2, 3, 112, 112)
    with torch.inference_mode():
        torch.testing.assert_close(node.model(x), model(x), rtol=1e-4, atol=1e-4)


def test_a_connection_lost_for_good_and_back_later(hub, node, weights):
    hub.files[NAME] = packed({"state_dict": weights})
    hub.cut = [1000, 2000, 3000]
    with pytest.raises(WeightsError, match=r"pfld_model_best.*py-feat/pfld.*one of three ways"):
        node.load()
    node.load()
    assert hub.bodies()[-1] == "bytes=6000-"


BROKEN = {
    "another network": (
        lambda w, _: {"conv.weight": torch.zeros(3)},
        "of the network is missing",
    ),
    "a missing tensor": (
        lambda w, _: {k: v for k, v in w.items() if k != "fc.bias"},
        "key 'fc.bias' of the network is missing",
    ),
    "an extra tensor": (
        lambda w, _: {**w, "more": torch.zeros(3)},
        "key 'more' is not in the network",
    ),
    "poison": (
        lambda w, ran: {"state_dict": w, "x": Poison(ran)},
        "holds more than tensors.*nothing in it was run",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_the_server_has_is_not_this_network(hub, node, weights, tmp_path, name):
    make, told = BROKEN[name]
    hub.files[NAME] = packed(make(weights, tmp_path / "ran"))
    with pytest.raises(WeightsError, match=rf"pfld_model_best\.pth\.tar: .*{told}"):
        node.load()
    assert not (tmp_path / "ran").exists()
    assert node._model is None
    assert node.weights_hash() == ""


def test_a_plain_pickle_executes_nothing(hub, node, tmp_path):
    hub.files[NAME] = pickle.dumps(Poison(tmp_path / "ran"))
    with pytest.raises(WeightsError, match="nothing in it was run"):
        node.load()
    assert not (tmp_path / "ran").exists()
    pickle.loads(hub.files[NAME]).close()  # the trap is real
    assert (tmp_path / "ran").exists()


def test_a_file_that_the_server_holds_cut_short(hub, node, weights):
    hub.files[NAME] = packed(weights)[:-500]
    with pytest.raises(WeightsError, match="not a usable PyTorch checkpoint"):
        node.load()


def test_a_file_that_changes_in_the_cache(hub, node, weights, home):
    hub.files[NAME] = packed(weights)
    node.load()
    node.unload()
    source = card_of("landmark/pfld").source
    path = home / "weights" / source.repository.replace("/", "--") / "main" / source.files[0]
    path.write_bytes(packed({k: v + 1 for k, v in weights.items() if v.is_floating_point()}))
    with pytest.raises(WeightsError, match="sha256 is .* but was"):
        node.load()


def test_a_skops_file_from_the_server(hub, home, transport, monkeypatch):
    monkeypatch.setattr(lookup, "HubTransport", lambda: transport)
    content = (Path(__file__).parent / "expected" / "svm.skops").read_bytes()
    hub.files["py-feat/svm_au/svm_au_classifier.skops"] = content  # the older name alone
    node = make_node("au", "svm")
    node.load()
    assert set(node.model.classifiers.classifiers) == {"AU01", "AU12", "AU25"}
