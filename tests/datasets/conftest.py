"""Clips whose every frame carries its number as a row of black and white squares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

BITS = 10


def draw_number(number: int, width: int = 160, height: int = 120) -> np.ndarray:
    """A picture that says ``number``; its left half is red so that turns and RGB order show."""
    # Noise gives the packets some size, so that there is something to cut and to damage.
    noise = np.random.default_rng(number).integers(-12, 13, (height, width, 1))
    picture = np.broadcast_to(90 + noise, (height, width, 3)).astype(np.uint8)
    picture[: height // 3, : width // 2] = (200, 40, 40)
    cell = width // (BITS + 2)
    middle = height // 2
    for bit in range(BITS):
        left = (bit + 1) * cell
        picture[middle - 8 : middle + 8, left : left + cell] = 255 * (number >> bit & 1)
    return picture


def read_number(picture: np.ndarray) -> int:
    """The number that :func:`draw_number` drew, at any size."""
    height, width = picture.shape[:2]
    scale = width / 160
    cell, middle = 160 // (BITS + 2), height // 2
    number = 0
    for bit in range(BITS):
        x = round(((bit + 1) * cell + cell / 2) * scale)
        number |= int(picture[middle - 2 : middle + 2, x - 1 : x + 2].mean() > 128) << bit
    return number


def write_clip(
    path: Path,
    count: int = 60,
    size: tuple[int, int] = (120, 160),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    times_ms: Sequence[int] | None = None,
    container: dict[str, str] | None = None,
    rotation: int | None = None,
    hflip: bool = False,
    still: bool = False,
    options: dict[str, str] | None = None,
) -> Path:
    """Encode numbered frames at 25 a second, or at the given times."""
    height, width = size
    times = times_ms if times_ms is not None else [40 * i for i in range(count)]
    if options is None:
        options = {"g": "12", "threads": "1"} if codec == "libx264" else {}
    with av.open(str(path), "w", options=container or {}) as file:
        stream: Any = file.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.time_base = Fraction(1, 1000 if times_ms is not None else 25)
        if rotation is not None or hflip:
            stream.set_display_rotation(rotation or 0, hflip=hflip)
        for index in range(count):
            picture = draw_number(0 if still else index, width, height)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt)
            frame.pts = times[index] if times_ms is not None else index
            frame.time_base = stream.codec_context.time_base
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def write_sound(path: Path) -> Path:
    """A container that holds sound alone."""
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 44100, 0
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


@pytest.fixture(scope="session")
def clip_writer() -> Callable[..., Path]:
    return write_clip


@pytest.fixture(scope="session")
def sound_writer() -> Callable[[Path], Path]:
    return write_sound


@pytest.fixture(scope="session")
def number_of() -> Callable[[np.ndarray], int]:
    return read_number


@pytest.fixture(scope="session")
def numbered() -> Callable[..., np.ndarray]:
    return draw_number


@pytest.fixture(scope="session")
def plain_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 frames, index in front, so that it can be cut."""
    folder = tmp_path_factory.mktemp("clips")
    return write_clip(folder / "plain.mp4", container={"movflags": "faststart"})


@pytest.fixture(scope="session")
def plain_mkv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "plain.mkv")
