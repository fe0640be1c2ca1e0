"""The transport through huggingface_hub, against a server on the loopback address."""

import dataclasses

import pytest

pytest.importorskip("huggingface_hub", reason="the extra featflow[hub] is not installed")

from featflow.errors import WeightsError
from featflow.hub import HubTransport, find, obtain
from featflow.hub.transport import NoSuchFileError, TransportError

NET, CONFIG = bytes(range(256)) * 400, b'{"a": 1}'


@pytest.fixture
def full(hub):
    hub.files.update({"owner/net/net.pth.tar": NET, "owner/net/net.json": CONFIG})
    return hub


def test_a_file_is_fetched_without_a_word(full, tmp_path, capfd):
    path = HubTransport().fetch("owner/net", "main", "net.pth.tar", tmp_path)
    assert path.parent == tmp_path
    assert path.read_bytes() == NET
    assert capfd.readouterr() == ("", "")


def test_an_absent_file(full, tmp_path):
    with pytest.raises(NoSuchFileError, match=r"owner/net has no file none\.pth"):
        HubTransport().fetch("owner/net", "main", "none.pth", tmp_path)


def test_no_network(full, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(TransportError) as told:
        HubTransport().fetch("owner/net", "main", "net.pth.tar", tmp_path)
    assert "\n" not in str(told.value)


def test_the_whole_way(full, card, home):
    paths = obtain(card)
    assert [path.read_bytes() for path in paths] == [NET, CONFIG]
    assert sorted(p.name for p in paths[0].parent.iterdir()) == [
        "net.json",
        "net.json.sha256",
        "net.pth.tar",
        "net.pth.tar.sha256",
    ]
    full.files.clear()
    assert obtain(card) == paths


def test_a_progress_bar_where_it_is_wanted(full, tmp_path, capfd):
    HubTransport(progress=True).fetch("owner/net", "main", "net.pth.tar", tmp_path)
    assert "102k/102k" in capfd.readouterr().err


def test_a_lost_connection_is_taken_up_where_it_broke(full, card, home):
    full.cut[:] = [40_000, 0, 0]
    with pytest.raises(WeightsError, match=r"net\.pth\.tar of owner/net is not here"):
        obtain(card)
    assert find(card) is None
    assert obtain(card)[0].read_bytes() == NET
    assert full.bodies() == ["", *["bytes=40000-"] * 3, ""]


def test_a_part_of_another_version_is_not_continued(full, card, home):
    full.cut[:] = [40_000, 0, 0]
    with pytest.raises(WeightsError):
        obtain(card)
    full.files["owner/net/net.pth.tar"] = NET[::-1]
    assert obtain(card)[0].read_bytes() == NET[::-1]


def test_a_token_goes_to_the_hub_alone(full, tmp_path, monkeypatch):
    import huggingface_hub

    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    HubTransport().fetch("owner/net", "main", "net.pth.tar", tmp_path)
    assert full.tokens[-1] == "Bearer hf_secret"
    plain = huggingface_hub.get_hf_file_metadata

    def elsewhere(*args, **options):
        found = plain(*args, **options)
        return dataclasses.replace(found, location=found.location.replace("127.0.0.1", "localhost"))

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", elsewhere)
    HubTransport().fetch("owner/net", "main", "net.json", tmp_path)
    assert full.seen[-1][1].endswith("net.json")
    assert full.tokens[-1] == ""
