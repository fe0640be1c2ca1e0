import pickle
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from featflow.errors import OutputError, WeightsError
from featflow.hub import convert_checkpoint, read_checkpoint
from featflow.hub.checkpoint import converted_name

EXPECTED = Path(__file__).parent / "expected"
WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3)}


def same(found, expected=WEIGHTS):
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def prefixed(weights):
    return {f"module.{key}": value for key, value in weights.items()}


@pytest.mark.parametrize(
    "content",
    [
        WEIGHTS,
        prefixed(WEIGHTS),
        {"state_dict": WEIGHTS, "epoch": 3},
        {"net": WEIGHTS, "best": 0.5},
        {"state_dict": prefixed(WEIGHTS)},
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_checkpoints_are_unwrapped(tmp_path, content, zipped):
    path = tmp_path / "w.pth.tar"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    same(read_checkpoint(path))


def test_content_tells_the_format_and_not_the_name(tmp_path):
    path = tmp_path / "w.pth"
    save_file(prefixed(WEIGHTS), path)
    same(read_checkpoint(path))
    path = tmp_path / "w.safetensors"
    torch.save(WEIGHTS, path)
    same(read_checkpoint(path))


def test_a_prefix_that_not_all_have_is_part_of_the_names(tmp_path):
    mixed = {"module.a": torch.ones(1), "b": torch.ones(2)}
    torch.save(mixed, tmp_path / "w.pth")
    same(read_checkpoint(tmp_path / "w.pth"), mixed)


class Poison:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def poisoned(path, ran):
    torch.save({"state_dict": WEIGHTS, "extra": Poison(ran)}, path)


def poisoned_old(path, ran):
    torch.save({"x": Poison(ran)}, path, _use_new_zipfile_serialization=False)


def poisoned_plain(path, ran):
    path.write_bytes(pickle.dumps(Poison(ran)))


@pytest.mark.parametrize("lay", [poisoned, poisoned_old, poisoned_plain])
def test_a_poisoned_pickle_executes_nothing(tmp_path, lay):
    path, ran = tmp_path / "w.pth", tmp_path / "ran"
    lay(path, ran)
    with pytest.raises(WeightsError, match=r"w\.pth: holds more than tensors") as told:
        read_checkpoint(path)
    assert "\n" not in str(told.value)
    assert not ran.exists()
    with pytest.raises(WeightsError):
        convert_checkpoint(path)
    assert not ran.exists()
    # The trap is real: a plain unpickler walks into it.
    if lay is poisoned_plain:
        pickle.loads(path.read_bytes()).close()
        assert ran.exists()


def truncated(path):
    torch.save(WEIGHTS, path)
    path.write_bytes(path.read_bytes()[:-200])


def truncated_old(path):
    torch.save(WEIGHTS, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-10])


def truncated_safetensors(path):
    save_file(WEIGHTS, path)
    path.write_bytes(path.read_bytes()[:-4])


def an_archive(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme", "hello")


@pytest.mark.parametrize(
    "lay",
    [
        truncated,
        truncated_old,
        truncated_safetensors,
        an_archive,
        lambda p: p.write_bytes(b""),
        lambda p: p.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"),
        lambda p: p.write_bytes(b"\x10\0\0\0\0\0\0\0{"),
        lambda p: torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), p),
    ],
)
def test_a_damaged_file_is_named(tmp_path, lay):
    path = tmp_path / "w.pth"
    lay(path)
    with pytest.raises(WeightsError, match=r"w\.pth: ") as told:
        read_checkpoint(path)
    assert "\n" not in str(told.value)


def laid(kind, path):
    if kind == "safetensors":
        save_file(WEIGHTS, path)
    elif kind == "skops":
        path.write_bytes((EXPECTED / "svm_emo.skops").read_bytes())
    else:
        torch.save({"state_dict": WEIGHTS}, path, _use_new_zipfile_serialization=kind == "torch")
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["torch", "old torch", "safetensors", "skops"])
@pytest.mark.filterwarnings("ignore")  # torch wonders about what it finds
def test_whatever_bytes_change_the_error_is_one_that_is_known(tmp_path, kind):
    path, rng, told = tmp_path / "w.pth", np.random.default_rng(5), 0
    whole = np.frombuffer(laid(kind, path), np.uint8)
    for _ in range(60):
        data = whole.copy()
        places = rng.integers(0, len(data), rng.integers(1, 12))
        data[places] = rng.integers(0, 256, len(places))
        path.write_bytes(data.tobytes())
        with suppress(WeightsError):  # anything else is a failure
            read_checkpoint(path)
            told -= 1
        told += 1
    assert told > 20


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([1, 2], "holds list, not tensors by name"),
        (torch.ones(2), "holds Tensor, not tensors by name"),
        ({"a": 1.0}, "entry 'a' is float, not a tensor"),
        ({3: torch.ones(1)}, "entry 3 is Tensor, not a tensor"),
        ({}, "holds no tensors"),
        ({"state_dict": {"a": "x"}}, "entry 'a' is str"),
    ],
)
def test_what_is_not_tensors_by_name_is_refused(tmp_path, content, told):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=told):
        read_checkpoint(tmp_path / "w.pth")


def test_a_skops_file_is_told_by_its_content(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.skops", "w") as file:
        file.writestr("schema.json", "{}")
    (tmp_path / "w.skops").rename(tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"w\.pth: not a usable skops file"):
        read_checkpoint(tmp_path / "w.pth")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"none\.pth: cannot be read"):
        read_checkpoint(tmp_path / "none.pth")


def test_converted_once_it_holds_the_same(tmp_path):
    path = tmp_path / "w.pth.tar"
    shared = torch.arange(4.0)
    turned = torch.arange(6.0).reshape(2, 3).T
    weights = {"one": shared, "two": shared, "turned": turned}
    torch.save({"state_dict": prefixed(weights)}, path)
    out = convert_checkpoint(path)
    assert out == tmp_path / "w.safetensors"
    same(load_file(out), weights)
    same(read_checkpoint(out), weights)
    assert convert_checkpoint(path, tmp_path / "x.bin") == tmp_path / "x.bin"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["w.pth.tar", "w.safetensors", "x.bin"]


def test_a_conversion_that_cannot_be_written_leaves_nothing(tmp_path):
    path = tmp_path / "w.pth"
    torch.save(WEIGHTS, path)
    with pytest.raises(OutputError, match="no folder"):
        convert_checkpoint(path, tmp_path / "none" / "w.safetensors")
    plain = tmp_path / "w.bin"
    torch.save(WEIGHTS, plain)
    with pytest.raises(WeightsError, match="say where to write"):
        convert_checkpoint(plain)


def test_converted_names():
    assert converted_name("a.pth") == converted_name("a.pt") == "a.safetensors"
    assert converted_name("a_b.pth.tar") == "a_b.safetensors"
    assert converted_name("a.safetensors") == "a.safetensors"
    assert converted_name("a.skops") == "a.safetensors"
