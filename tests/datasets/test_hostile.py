"""Property: whatever the bytes, reading gives frames, or failed frames with our own errors."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from featflow.datasets import open_source
from featflow.datasets.sniff import classify
from featflow.errors import InputError

SETTINGS = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
FORMATS = ["JPEG", "PNG", "WEBP", "BMP", "TIFF"]


def encoded(format_name):
    ramp = np.arange(24 * 32 * 3, dtype=np.uint32).reshape(24, 32, 3) % 251
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {} if format_name == "BMP" else {"exif": exif}
    Image.fromarray(ramp.astype(np.uint8)).save(buffer, format_name, **options)
    return buffer.getvalue()


def assert_sound(path, content):
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow remarks on broken EXIF blocks
        frames = list(open_source(path))
    assert frames
    for frame in frames:
        if frame.error is None:
            assert frame.image.shape == (*frame.size_px, 3)
        else:
            assert isinstance(frame.error, InputError)
            assert str(path) in str(frame.error)


@given(st.binary(max_size=600))
def test_classify_takes_anything(head):
    kind = classify(head)
    assert kind is None or kind.medium in ("photo", "clip")


@pytest.mark.parametrize("format_name", FORMATS)
@SETTINGS
@given(data=st.data())
def test_damaged_photos(tmp_path, format_name, data):
    content = bytearray(encoded(format_name))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    keep = data.draw(st.integers(1, len(content)))
    assert_sound(tmp_path / "photo.jpg", bytes(content[:keep]))


@SETTINGS
@given(
    st.binary(max_size=300),
    st.sampled_from(
        [
            b"\xff\xd8\xff",
            b"\x89PNG\r\n\x1a\n",
            b"BM",
            b"II*\x00",
            b"RIFF0000WEBP",
            b"\x00\x00\x00\x18ftypisom",
            b"\x1aE\xdf\xa3",
            b"RIFF0000AVI ",
            b"GIF89a",
            b"FLV\x01",
            b"OggS",
            b"\x00\x00\x01\xba",
            b"0&\xb2u\x8ef\xcf\x11",
        ]
    ),
)
def test_right_beginning_and_then_anything(tmp_path, rest, start):
    assert_sound(tmp_path / "file.mp4", start + rest)


@settings(SETTINGS, max_examples=15)
@given(data=st.data())
def test_damaged_clips(tmp_path, plain_clip, data):
    content = bytearray(plain_clip.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    keep = data.draw(st.integers(len(content) // 4, len(content)))
    assert_sound(tmp_path / "clip.mp4", bytes(content[:keep]))
