from pathlib import Path

import pytest

from featflow.hub.places import cache_folder, cached_path, local_paths, offline
from featflow.nodes._cards import Source

SOURCE = Source("owner/net", ("net.pth",), "torch")


def test_the_cache_is_where_the_environment_says(home, monkeypatch):
    assert cache_folder() == home / "weights"
    assert cached_path(SOURCE, "net.pth") == home / "weights/owner--net/main/net.pth"
    pinned = Source("owner/net", ("net.pth",), "torch", revision="v2")
    assert cached_path(pinned, "net.pth") == home / "weights/owner--net/v2/net.pth"
    monkeypatch.delenv("FEATFLOW_HOME")
    monkeypatch.setenv("HF_HOME", "/hf")
    assert cache_folder() == Path("/hf/featflow/weights")
    monkeypatch.delenv("HF_HOME")
    assert cache_folder() == Path.home() / ".cache/featflow/weights"


def test_a_bare_name_that_several_repositories_use_is_not_looked_for(home, monkeypatch):
    assert local_paths("toy/net", SOURCE, "net.pth") == ()
    monkeypatch.setenv("FEATFLOW_WEIGHTS", "/w")
    places = [str(p) for p in local_paths("toy/net", SOURCE, "net.pth")]
    assert places == ["/w/toy/net/net.pth", "/w/owner/net/net.pth", "/w/net/net.pth", "/w/net.pth"]
    shared = [str(p) for p in local_paths("toy/net", SOURCE, "model.safetensors")]
    assert "/w/model.safetensors" not in shared
    assert "/w/toy/net/model.safetensors" in shared


@pytest.mark.parametrize("name", ["FEATFLOW_OFFLINE", "HF_HUB_OFFLINE"])
@pytest.mark.parametrize(
    ("value", "said"), [("1", True), ("True", True), ("0", False), ("", False)]
)
def test_offline(home, monkeypatch, name, value, said):
    assert offline() is False
    monkeypatch.setenv(name, value)
    assert offline() is said
