"""Event files, against records that are put together here by the published formats."""

import struct

import pytest

from featflow.errors import InputError, MissingExtraError, MissingInputError
from featflow.train import events
from featflow.train.events import EventReader, Scalar, TensorBoard, flat, masked_crc, read_events


def slow_crc32c(content):
    """Bit by bit, from the polynomial's definition (RFC 3720)."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def record(content):
    def masked(data):
        crc = slow_crc32c(data)
        return ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32

    head = struct.pack("<Q", len(content))
    return head + struct.pack("<I", masked(head)) + content + struct.pack("<I", masked(content))


def event(tag, step, value, wall=12.5):
    number = b"\x0a" + bytes([len(tag)]) + tag.encode() + b"\x15" + struct.pack("<f", value)
    summary = b"\x0a" + bytes([len(number)]) + number
    varint = b""
    while step > 127:
        varint, step = varint + bytes([step & 127 | 128]), step >> 7
    varint += bytes([step])
    return b"\x09" + struct.pack("<d", wall) + b"\x10" + varint + b"\x2a" + bytes(
        [len(summary)]
    ) + summary  # fmt: skip


VERSION = b"\x09" + struct.pack("<d", 1.0) + b"\x1a\x0dbrain.Event:2"


def test_the_checksum_is_that_of_the_standard():
    # RFC 3720 B.4: CRC-32C of 32 zeros is 8a9136aa.
    assert slow_crc32c(bytes(32)) == 0x8A9136AA
    for content in (b"", b"123456789", bytes(range(256)) * 3):
        crc = slow_crc32c(content)
        assert masked_crc(content) == ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


def test_numbers_come_back(tmp_path):
    path = tmp_path / "events.out.tfevents.1.host"
    wanted = [("loss", 1, 0.5), ("val/error", 300, -2.25), ("loss", 70000, 0.125)]
    path.write_bytes(record(VERSION) + b"".join(record(event(*w)) for w in wanted))
    assert read_events(path) == [Scalar(t, s, v, 12.5) for t, s, v in wanted]
    assert read_events(tmp_path) == read_events(path)


def test_a_cut_tail_is_left_out_and_a_live_file_is_followed(tmp_path):
    path = tmp_path / "a.tfevents"
    whole = record(VERSION) + record(event("a", 1, 1.0))
    more = record(event("a", 2, 2.0))
    for cut in range(len(more)):
        path.write_bytes(whole + more[:cut])
        assert [s.value for s in read_events(path)] == [1.0]
    path.write_bytes(whole + more[:9])
    reader = EventReader(path)
    assert [s.step for s in reader.read()] == [1]
    assert reader.read() == []
    with path.open("ab") as file:
        file.write(more[9:] + record(event("b", 3, 3.0)))
    assert [(s.tag, s.step) for s in reader.read()] == [("a", 2), ("b", 3)]


def test_damage_in_the_middle_is_an_error(tmp_path):
    path = tmp_path / "a.tfevents"
    first = record(event("a", 1, 1.0))
    for at in (0, 9, 20, len(first) - 1):
        damaged = bytearray(first + first)
        damaged[at] ^= 0x40
        path.write_bytes(bytes(damaged))
        with pytest.raises(InputError, match="byte 0 is damaged"):
            read_events(path)
    with pytest.raises(MissingInputError):
        read_events(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingInputError, match="no event file"):
        read_events(tmp_path / "empty")


def test_nested_names_are_joined():
    nested = {"A": {"ssim": 1, "mse": {"eyes": 2.0}}, "total": 3}
    assert flat(nested) == {"A/ssim": 1.0, "A/mse/eyes": 2.0, "total": 3.0}


def test_without_tensorboard_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match=r"featflow\[tensorboard\]"):
        TensorBoard(tmp_path)


def test_what_tensorboard_writes_is_read_exactly(tmp_path):
    pytest.importorskip("tensorboard")
    import numpy as np

    board = TensorBoard(tmp_path)
    board.add({"loss": 0.1, "A": {"ssim": 0.25}}, 5)
    board.add_image("preview", np.zeros((4, 6, 3), np.uint8), 5)
    board.on_save(None, tmp_path)
    found = {(s.tag, s.step): s.value for s in read_events(tmp_path)}
    assert found == {("loss", 5): pytest.approx(0.1, abs=1e-8), ("A/ssim", 5): 0.25}
    board.on_end(None)
    assert events.read_events(tmp_path)
