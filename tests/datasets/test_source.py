"""One door for all inputs."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import featflow.datasets
from featflow.datasets import Frame, ReadOptions, Source, open_source
from featflow.errors import (
    ArrayError,
    ImageError,
    InputError,
    MissingInputError,
    OptionError,
    VideoError,
)

PICTURE = np.full((8, 9, 3), 50, np.uint8)


@pytest.fixture
def folder(tmp_path, plain_clip):
    """b.png, a.jpg, clip.mp4, a broken photo, and files that are not meant."""
    Image.fromarray(PICTURE).save(tmp_path / "b.png")
    Image.fromarray(PICTURE).save(tmp_path / "a.jpg")
    (tmp_path / "clip.mp4").write_bytes(plain_clip.read_bytes())
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "labels.csv").write_text("a,b\n")
    (tmp_path / "._a.jpg").write_bytes(b"mac")
    (tmp_path / "deeper").mkdir()
    Image.fromarray(PICTURE).save(tmp_path / "deeper" / "c.png")
    Image.fromarray(PICTURE).save(tmp_path / "nosuffix", format="PNG")
    return tmp_path


def base_names(source):
    return [os.path.basename(name) for name in source.names]


def test_folder(folder):
    source = open_source(folder)
    assert base_names(source) == ["a.jpg", "b.png", "clip.mp4", "empty.jpg", "nosuffix"]
    frames = list(source)
    assert len(frames) == 2 + 60 + 2
    photos = [f for f in frames if np.isnan(f.time_s) and f.error is None]
    assert [f.index for f in photos] == [0, 0, 0]
    assert [type(f.error) for f in frames if f.error] == [ImageError]
    assert source.n_frames_hint == 64
    assert [r.source for r in source.reports] == [str(folder / "clip.mp4")]


def test_patterns(folder):
    assert base_names(open_source(f"{folder}/*.png")) == ["b.png"]
    assert base_names(open_source(f"{folder}/**/*.png")) == ["b.png", "c.png"]
    (frame,) = open_source(f"{folder}/*.bmp")
    assert isinstance(frame.error, MissingInputError)
    assert "no file matches" in str(frame.error)


def test_a_file_whose_name_is_a_pattern(tmp_path):
    path = tmp_path / "shot[1].png"
    Image.fromarray(PICTURE).save(path)
    assert [f.error for f in open_source(str(path))] == [None]


def test_mixed_list_keeps_order_and_goes_on_after_failures(folder):
    missing, text = folder / "none.jpg", folder / "labels.csv"
    stack = np.zeros((2, 4, 5, 3), np.uint8)
    inputs = [missing, PICTURE, folder / "clip.mp4", str(text), Image.fromarray(PICTURE), [stack]]
    source = open_source(inputs, skip_frames=30)
    frames = list(source)
    assert [(os.path.basename(f.source), f.index) for f in frames] == [
        ("none.jpg", 0),
        ("array:0", 0),
        ("clip.mp4", 0),
        ("clip.mp4", 30),
        ("labels.csv", 0),
        ("array:1", 0),
        ("array:2", 0),
        ("array:2", 1),
    ]
    errors = [type(f.error) for f in frames if f.error]
    assert errors == [MissingInputError, InputError]
    assert source.n_frames_hint == 8
    assert [f.index for f in source] == [f.index for f in frames]
    assert len(source.reports) == 1


@pytest.mark.parametrize(
    ("path", "kind", "message"),
    [
        ("http://example.org/a.jpg", MissingInputError, "download"),
        ("nul\0byte.jpg", InputError, "null"),
        ("missing.mp4", MissingInputError, "no such file"),
        ("", MissingInputError, "no such file"),
    ],
)
def test_paths_that_lead_nowhere(path, kind, message):
    (frame,) = open_source(path)
    assert isinstance(frame.error, kind)
    assert message in str(frame.error)


def test_empty_folder_unreadable_file_and_pipe(tmp_path):
    (frame,) = open_source(tmp_path)
    assert isinstance(frame.error, MissingInputError)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.mp4")
        (frame,) = open_source(tmp_path / "pipe.mp4")
        assert "not a plain file" in str(frame.error)
    path = tmp_path / "secret.jpg"
    Image.fromarray(PICTURE).save(path)
    path.chmod(0)
    if not os.access(path, os.R_OK):
        (frame,) = open_source(path)
        assert isinstance(frame.error, InputError)


def test_bytes_paths_and_path_objects(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(PICTURE).save(path)
    assert open_source(path).names == [str(path)]


def test_empty_list():
    with pytest.raises(OptionError, match="empty"):
        open_source([])


@pytest.mark.parametrize(
    "options",
    [
        {"skip_frames": 0},
        {"skip_frames": 1.5},
        {"skip_frames": True},
        {"output_size": 0},
        {"start": -1},
        {"start": float("nan")},
        {"stop": 0},
        {"start": 2.0, "stop": 2.0},
        {"start": "1"},
        {"decoder": "x"},
    ],
)
def test_options_out_of_range(options):
    with pytest.raises(OptionError, match=next(iter(options)).replace("start", "st")):
        open_source(PICTURE, **options)


def test_unknown_option():
    with pytest.raises(TypeError):
        open_source(PICTURE, skip=2)


def test_numpy_numbers_are_numbers(plain_clip):
    frames = open_source(plain_clip, skip_frames=np.int64(30), start=np.float32(0.5))
    assert [f.index for f in frames] == [30]


def test_generator_is_read_once():
    def camera():
        yield PICTURE
        yield "not a frame"
        yield PICTURE.astype(float)
        yield Image.fromarray(PICTURE)
        yield np.zeros((2, 4, 4, 3), np.uint8)

    source = open_source(camera())
    assert source.names == ["stream:0"]
    assert source.n_frames_hint is None
    frames = list(source)
    assert [f.index for f in frames] == [0, 1, 2, 3, 4, 5]
    assert {f.source for f in frames} == {"stream:0"}
    assert [type(f.error) for f in frames if f.error] == [ArrayError, ArrayError]
    with pytest.raises(InputError, match="read already"):
        next(iter(source))


def test_generator_is_lazy():
    taken = []

    def camera():
        for number in range(100):
            taken.append(number)
            yield PICTURE

    frames = iter(open_source(camera()))
    next(frames)
    assert taken == [0]


def test_an_error_of_the_generator_is_the_users_own():
    def camera():
        yield PICTURE
        raise RuntimeError("cable")

    frames = iter(open_source(camera()))
    next(frames)
    with pytest.raises(RuntimeError, match="cable"):
        next(frames)


def test_source_in_source_out(plain_clip):
    source = open_source(plain_clip)
    assert open_source(source) is source
    assert len(list(open_source(source, skip_frames=10))) == 6
    assert isinstance(source, Source)
    assert "plain.mp4" in repr(source)


@pytest.mark.parametrize(
    ("options", "count"),
    [({}, 60), ({"skip_frames": 7}, 9), ({"start": 0.4, "stop": 1.6}, 30), ({"start": 9.0}, 0)],
)
def test_hint_is_exact_for_sound_clips(plain_clip, options, count):
    source = open_source(plain_clip, **options)
    assert source.n_frames_hint == count == len(list(source))


def test_damage_is_logged_and_nothing_is_printed(plain_clip, tmp_path, caplog, capfd):
    path = tmp_path / "cut.mp4"
    data = plain_clip.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with caplog.at_level(logging.INFO, logger="featflow"):
        frames = list(open_source(path))
    assert isinstance(frames[-1].error, VideoError)
    assert [r.name for r in caplog.records] == ["featflow"]
    assert "truncated" in caplog.text
    assert capfd.readouterr() == ("", "")
    assert not logging.getLogger("featflow").handlers


def test_options_record():
    options = ReadOptions(skip_frames=3, start=1.0, stop=2.0)
    assert options.wants(3, 1.0)
    assert not options.wants(4, 1.0)
    assert not options.wants(3, 0.999)
    assert options.wants(3, float("nan"))
    assert options.is_over(2.0)
    assert not options.is_over(1.999)
    assert not options.is_over(float("nan"))


def test_import_is_cheap():
    code = (
        "import sys, featflow.datasets, featflow.datasets.frame\n"
        "print([m for m in ('torch', 'av', 'PIL', 'cv2', 'decord') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_public_names():
    for name in featflow.datasets.__all__:
        assert getattr(featflow.datasets, name).__doc__
    assert dir(featflow.datasets) == sorted(featflow.datasets.__all__)
    assert featflow.datasets.Frame is Frame
    with pytest.raises(AttributeError):
        featflow.datasets.nothing  # noqa: B018
