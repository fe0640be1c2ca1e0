import dataclasses
import hashlib
import json
import pickle
import struct

import pytest
import torch
from safetensors.torch import save_file

from featflow.errors import WeightsError
from featflow.nodes._cards import read_card
from featflow.nodes._weights import load_weights, weights_hash


def network(seed=0, hidden=3):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(2, hidden), torch.nn.BatchNorm1d(hidden))


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "weights.safetensors"
    save_file(network(1).state_dict(), file)
    return file


@pytest.fixture
def card(tmp_path, card_text, path):
    (tmp_path / "card.toml").write_text(card_text)
    size, sha = path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()
    return dataclasses.replace(read_card(tmp_path / "card.toml"), size_bytes=size, sha256=sha)


def state(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def refused(path, match, card=None):
    model = network()
    before = state(model)
    with pytest.raises(WeightsError, match=match) as told:
        load_weights(model, path, card)
    assert str(path) in str(told.value)
    assert "\n" not in str(told.value)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_weights_are_loaded_and_their_hash_is_told(path, card):
    model = network()
    load_weights(model, path, card)
    assert all(torch.equal(network(1).state_dict()[k], v) for k, v in model.state_dict().items())
    assert weights_hash(path) == card.sha256


def test_half_precision_is_widened(path):
    stored = {
        k: v.half() if v.is_floating_point() else v for k, v in network(1).state_dict().items()
    }
    save_file(stored, path)
    model = network()
    load_weights(model, path)
    weight = model.state_dict()["0.weight"]
    assert weight.dtype == torch.float32
    assert torch.equal(weight, stored["0.weight"].float())


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda s: s.pop("0.bias"), "key '0.bias' of the network is missing"),
        (lambda s: s.update(more=torch.zeros(1)), "key 'more' is not in the network"),
        (lambda s: s.update({"0.bias": torch.zeros(4)}), r"'0.bias' has shape \(4,\)"),
        (lambda s: s.update({"0.bias": torch.zeros(3).double()}), "'0.bias' is torch.float64"),
        (lambda s: s.update({"0.bias": torch.zeros(3).bfloat16()}), "'0.bias' is torch.bfloat16"),
        (
            lambda s: s.update({"1.num_batches_tracked": torch.tensor(1.0).half()}),
            "'1.num_batches_tracked' is torch.float16",
        ),
        (lambda s: s.update({"0.bias": torch.full((3,), torch.nan)}), "'0.bias' has values"),
    ],
)
def test_weights_of_another_network_are_refused(path, change, match):
    stored = state(network(1))
    change(stored)
    save_file(stored, path)
    refused(path, match)


def with_header(path, change):
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])


@pytest.mark.parametrize(
    "damage",
    [
        lambda p: p.write_bytes(b""),
        lambda p: p.write_bytes(p.read_bytes()[:5]),
        lambda p: p.write_bytes(p.read_bytes()[:60]),
        lambda p: p.write_bytes(p.read_bytes()[:-4]),
        lambda p: p.write_bytes(p.read_bytes() + b"more"),
        lambda p: p.write_bytes(struct.pack("<Q", 10**6) + p.read_bytes()[8:]),
        lambda p: p.write_bytes(struct.pack("<Q", 2 * 10**8) + p.read_bytes()[8:]),
        lambda p: p.write_bytes(pickle.dumps({"0.bias": [0.0]})),
        lambda p: torch.save(network(1).state_dict(), p),
        lambda p: with_header(p, lambda h: h["0.bias"].update(data_offsets=[0, 12])),
        lambda p: with_header(p, lambda h: h["0.bias"].update(data_offsets=[-4, 8])),
        lambda p: with_header(p, lambda h: h["0.bias"].update(dtype="F99")),
        lambda p: with_header(p, lambda h: h["0.bias"].update(dtype="F64")),
    ],
)
def test_a_damaged_file_is_refused(path, damage):
    damage(path)
    refused(path, "not a usable safetensors file|is torch|has shape")


def test_a_poisoned_pickle_is_not_run(path, tmp_path):
    class Poison:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    path.write_bytes(pickle.dumps(Poison()))
    refused(path, "not a usable safetensors file")
    torch.save(Poison(), path)
    refused(path, "not a usable safetensors file")
    assert not (tmp_path / "ran").exists()


def test_a_flipped_byte_is_found_by_the_hash(path, card):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    refused(path, "sha256 is .*toy/foreign", card)


def test_a_size_that_is_not_the_cards_is_told(path, card):
    path.write_bytes(path.read_bytes() + b"x")
    refused(path, "bytes, but the card of toy/foreign says", card)


def test_a_missing_file_is_named(tmp_path):
    refused(tmp_path / "none.safetensors", "cannot be read")
    with pytest.raises(WeightsError, match="cannot be read"):
        weights_hash(tmp_path / "none.safetensors")
