"""Where weights are looked for, how they are fetched, and everything that can go wrong."""

import hashlib
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from featflow.errors import MissingExtraError, MissingHubError, OptionError, WeightsError
from featflow.hub import find, give_weights, obtain
from featflow.nodes import make_node

NET, CONFIG = bytes(range(256)) * 40, b'{"a": 1}'
REPOSITORY = "owner/net"


class Never:
    def fetch(self, repository, revision, name, folder):
        raise AssertionError(f"{name} was fetched")


@pytest.fixture
def full(hub):
    hub.files.update({f"{REPOSITORY}/net.pth.tar": NET, f"{REPOSITORY}/net.json": CONFIG})
    return hub


@pytest.fixture
def kept(home):
    return home / "weights/owner--net/main"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def put(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_bytes(content)
    return folder


def test_fetched_once_and_kept(full, card, kept, transport):
    assert find(card) is None
    paths = obtain(card, transport=transport)
    assert [path.read_bytes() for path in paths] == [NET, CONFIG]
    assert paths == (kept / "net.pth.tar", kept / "net.json") == find(card)
    digest = hashlib.sha256(NET).hexdigest()
    assert (kept / "net.pth.tar.sha256").read_text() == f"{digest}  net.pth.tar\n"
    assert names(kept) == ["net.json", "net.json.sha256", "net.pth.tar", "net.pth.tar.sha256"]
    assert obtain(card, transport=Never()) == paths
    assert full.seen[0][1] == "/owner/net/resolve/main/net.pth.tar"


def test_a_revision_that_is_known_is_asked_for(full, card, home, transport):
    pinned = replace(card, source=replace(card.source, revision="abc123"))
    paths = obtain(pinned, transport=transport)
    assert full.seen[0][1] == "/owner/net/resolve/abc123/net.pth.tar"
    assert paths[0] == home / "weights/owner--net/abc123/net.pth.tar"
    assert find(card) is None


def test_the_older_name_is_tried(hub, card, kept, transport):
    hub.files.update({f"{REPOSITORY}/older.pth.tar": NET, f"{REPOSITORY}/net.json": CONFIG})
    paths = obtain(card, transport=transport)
    assert paths[0] == kept / "older.pth.tar"
    assert obtain(card, transport=Never()) == paths


def three_ways(error, card):
    text = str(error)
    assert "\n" not in text
    assert "net.pth.tar of owner/net is not here" in text
    assert 'Detector(weights={"toy/net": ' in text
    assert "FEATFLOW_WEIGHTS" in text
    assert "featflow download toy/net" in text
    assert "pip install 'featflow[hub]'" in text
    return text


def test_a_file_that_the_repository_lacks(hub, card, kept, transport):
    with pytest.raises(WeightsError) as told:
        obtain(card, transport=transport)
    assert "has no file older.pth.tar" in three_ways(told.value, card)
    assert find(card) is None


def test_no_network(card, kept, transport, hub):
    transport.url = "http://127.0.0.1:9"
    with pytest.raises(WeightsError) as told:
        obtain(card, transport=transport)
    assert "refused" in three_ways(told.value, card)


@pytest.mark.parametrize("name", ["FEATFLOW_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_fetches_nothing(full, card, kept, transport, monkeypatch, name):
    monkeypatch.setenv(name, "1")
    with pytest.raises(WeightsError) as told:
        obtain(card, transport=transport)
    assert "OFFLINE is set" in three_ways(told.value, card)
    assert full.seen == []
    monkeypatch.delenv(name)
    paths = obtain(card, transport=transport)
    monkeypatch.setenv(name, "1")
    assert obtain(card, transport=Never()) == paths


def test_without_the_extra(card, home, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingHubError) as told:
        obtain(card)
    three_ways(told.value, card)
    assert isinstance(told.value, WeightsError)
    assert isinstance(told.value, MissingExtraError)


def test_the_network_gone_in_the_middle_and_back(full, card, kept, transport):
    full.cut[:] = [3000, 2000, 100, 0, 0, 0]
    for _ in range(2):
        with pytest.raises(WeightsError) as told:
            obtain(card, transport=transport)
        assert "connection was lost" in three_ways(told.value, card)
        assert find(card) is None
        assert not (kept / "net.pth.tar").exists()
    assert obtain(card, transport=transport)[0].read_bytes() == NET
    again = ["bytes=5100-"] * 4
    assert full.bodies() == ["", "bytes=3000-", "bytes=5000-", *again, ""]
    assert names(kept) == ["net.json", "net.json.sha256", "net.pth.tar", "net.pth.tar.sha256"]


def test_a_file_that_changed_is_refused_ever_after(full, card, kept, transport):
    path, _ = obtain(card, transport=transport)
    path.write_bytes(NET[:-1] + b"x")
    for _ in range(2):
        with pytest.raises(WeightsError, match=r"net\.pth\.tar: sha256 is .* when the file was"):
            obtain(card, transport=Never())
    path.unlink()
    Path(f"{path}.sha256").unlink()
    assert obtain(card, transport=transport)[0].read_bytes() == NET


def test_a_cache_that_cannot_be_written(full, card, tmp_path, monkeypatch, transport):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FEATFLOW_HOME", str(tmp_path / "file"))
    with pytest.raises(WeightsError) as told:
        obtain(card, transport=transport)
    assert "cannot be written" in three_ways(told.value, card)
    assert full.seen == []


def test_a_disk_that_fills_up(card, kept, home):
    class Full:
        def fetch(self, repository, revision, name, folder):
            raise OSError(28, "No space left on device")

    with pytest.raises(WeightsError) as told:
        obtain(card, transport=Full())
    assert "the disk is full" in three_ways(told.value, card)


def test_two_threads_fetch_once(full, card, kept, transport):
    full.hold.clear()
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(obtain(card, transport=transport)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    threading.Timer(0.4, full.hold.set).start()
    for thread in threads:
        thread.join(20)
    assert found == [(kept / "net.pth.tar", kept / "net.json")] * 3
    assert full.bodies() == ["", ""]


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from conftest import UrlTransport
from featflow.hub.download import download
from featflow.nodes._cards import Source
source = Source("owner/net", ("net.pth.tar",), "torch")
print(download(source, "net.pth.tar", UrlTransport(sys.argv[2])).stat().st_size)
"""


def test_two_processes_fetch_once(full, kept, transport):
    full.hold.clear()
    arguments = [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), full.url]
    runs = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    threading.Timer(6.0, full.hold.set).start()
    told = [process.communicate(timeout=60)[0].strip() for process in runs]
    assert told == [str(len(NET))] * 2
    assert [process.returncode for process in runs] == [0, 0]
    assert full.bodies() == [""]
    assert (kept / "net.pth.tar").read_bytes() == NET


def test_a_file_or_folder_that_the_caller_gives_comes_first(
    card, kept, home, tmp_path, monkeypatch
):
    put(kept, net_pth_tar=b"cache", net_json=b"cache")
    local = put(tmp_path / "local/toy/net", net_pth_tar=b"local", net_json=b"local").parents[1]
    given = put(tmp_path / "given", net_pth_tar=b"given", other_bin=b"other", net_json=b"given")

    def contents(weights=None):
        return [path.read_bytes() for path in obtain(card, weights, Never())]

    assert contents() == [b"cache", b"cache"]
    monkeypatch.setenv("FEATFLOW_WEIGHTS", str(local))
    assert contents() == [b"local", b"local"]
    assert contents(given) == [b"given", b"given"]
    assert contents(str(given / "other.bin")) == [b"other", b"given"]
    (given / "net.json").unlink()
    assert contents(given) == [b"given", b"local"]
    assert not list(given.glob("*.sha256"))
    assert not list(local.rglob("*.sha256"))


def test_weights_that_the_caller_gives_may_change(card, home, tmp_path):
    given = put(tmp_path / "given", net_pth_tar=b"one", net_json=b"{}")
    obtain(card, given, Never())
    put(given, net_pth_tar=b"two")
    assert obtain(card, given, Never())[0].read_bytes() == b"two"


def test_a_converted_file_stands_for_the_checkpoint(card, kept, home):
    put(kept, net_pth_tar=b"old", net_json=b"{}", net_safetensors=b"new")
    assert obtain(card, transport=Never())[0] == kept / "net.safetensors"
    assert (kept / "net.safetensors.sha256").is_file()


def test_given_weights_that_are_not_there_are_named(card, home, tmp_path):
    with pytest.raises(WeightsError, match=r"none: no such file or folder, given .* toy/net"):
        obtain(card, tmp_path / "none", Never())
    with pytest.raises(WeightsError, match=r"no file net\.pth\.tar, which the weights of toy/net"):
        find(card, tmp_path)


def test_a_node_that_ships_its_weights_has_nothing_to_look_for(card):
    with pytest.raises(OptionError, match=r"toy/net: its card has no \[source\]"):
        find(replace(card, source=None))


def test_weights_are_given_to_nodes_by_id(tmp_path):
    nodes = [make_node("face", "tiny"), make_node("landmark", "pfld")]
    give_weights(nodes, {"landmark/pfld": tmp_path})
    assert nodes[1].weights == tmp_path
    with pytest.raises(OptionError, match="'landmark/x'; nodes of this detector: face/tiny, landm"):
        give_weights(nodes, {"landmark/x": tmp_path})
    with pytest.raises(OptionError, match="face/tiny ships its weights"):
        give_weights(nodes, {"face/tiny": tmp_path})
