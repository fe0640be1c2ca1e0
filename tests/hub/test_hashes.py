import hashlib

import pytest

from featflow.errors import WeightsError
from featflow.hub.hashes import checked_hash, record_path, sha256_of


def test_a_hash_is_remembered_and_checked(tmp_path):
    path = tmp_path / "net.pth"
    path.write_bytes(b"one")
    digest = hashlib.sha256(b"one").hexdigest()
    assert checked_hash(path) == sha256_of(path) == digest
    assert record_path(path).read_text() == f"{digest}  net.pth\n"
    assert checked_hash(path) == digest
    path.write_bytes(b"two")
    with pytest.raises(WeightsError, match=f"net.pth: sha256 is .*, but was {digest} when"):
        checked_hash(path)
    assert record_path(path).read_text().split()[0] == digest
    record_path(path).unlink()
    assert checked_hash(path) == hashlib.sha256(b"two").hexdigest()


@pytest.mark.parametrize("content", [b"", b"hello\n", b"\xff\xfe", b"ab" * 31])
def test_a_record_that_is_none_is_told(tmp_path, content):
    path = tmp_path / "net.pth"
    path.write_bytes(b"one")
    record_path(path).write_bytes(content)
    with pytest.raises(WeightsError, match=r"net\.pth\.sha256: .*delete it"):
        checked_hash(path)


def test_a_hash_that_cannot_be_remembered_is_used_all_the_same(tmp_path, caplog):
    path = tmp_path / "net.pth"
    path.write_bytes(b"one")
    record_path(path).mkdir()
    assert checked_hash(path) == hashlib.sha256(b"one").hexdigest()
    assert "cannot be remembered" in caplog.text


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"none: cannot be read"):
        sha256_of(tmp_path / "none")
