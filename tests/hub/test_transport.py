"""Fetching over the network, against a server on the loopback address."""

import hashlib

import pytest

from featflow.hub.transport import NoSuchFileError, RemoteFile, TransportError, fetch_file

CONTENT = bytes(range(256)) * 40
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def remote(hub):
    hub.files["owner/net/a"] = CONTENT
    return RemoteFile(f"{hub.url}/owner/net/resolve/main/a", len(CONTENT), DIGEST, {})


def changed(remote, **fields):
    return RemoteFile(
        fields.get("address", remote.address),
        fields.get("size", remote.size),
        fields.get("etag", remote.etag),
        {},
    )


def test_a_whole_file(remote, hub, tmp_path, capfd):
    fetch_file(remote, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT
    fetch_file(remote, tmp_path / "a")
    assert hub.bodies() == [""]
    assert capfd.readouterr() == ("", "")


def test_a_lost_connection_is_taken_up_twice(remote, hub, tmp_path):
    hub.cut[:] = [1000, 500]
    fetch_file(remote, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert hub.bodies() == ["", "bytes=1000-", "bytes=1500-"]


def test_what_arrived_is_kept(remote, hub, tmp_path):
    hub.cut[:] = [1000, 500, 0]
    with pytest.raises(TransportError, match=f"lost after 1500 of {len(CONTENT)} bytes"):
        fetch_file(remote, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT[:1500]


def test_a_server_that_knows_no_ranges(remote, hub, tmp_path):
    hub.ranges = False
    (tmp_path / "a").write_bytes(b"x" * 700)
    fetch_file(remote, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_more_than_there_can_be_is_not_continued(remote, hub, tmp_path):
    (tmp_path / "a").write_bytes(CONTENT + b"more")
    fetch_file(remote, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_wrong_part_is_found_by_the_hash(remote, hub, tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 700)
    with pytest.raises(TransportError, match="not what the server has"):
        fetch_file(remote, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    fetch_file(remote, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_without_size_and_hash(remote, tmp_path):
    for _ in range(2):
        fetch_file(changed(remote, size=None, etag="abc"), tmp_path / "a")
        assert (tmp_path / "a").read_bytes() == CONTENT


def test_errors_of_the_server_are_told(remote, tmp_path):
    with pytest.raises(NoSuchFileError, match="404"):
        fetch_file(changed(remote, address=remote.address + "b"), tmp_path / "a")
    with pytest.raises(TransportError, match="no web address"):
        fetch_file(changed(remote, address="file:///etc/hostname"), tmp_path / "a")
    with pytest.raises(TransportError, match="refused"):
        fetch_file(changed(remote, address="http://127.0.0.1:9/a"), tmp_path / "a")
    assert not (tmp_path / "a").exists()
