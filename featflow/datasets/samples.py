"""A photo and a clip for trying things out, with nothing to download.

The photo is the portrait of Grace Hopper (US Navy, public domain) that matplotlib installs
with its examples. The clip is rendered from it by known maps, so that where each face lies
in each frame is exact by construction.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featflow.errors import MissingInputError, OutputError

CLIP_SIZE = (360, 640)
CLIP_RATE = 30
_FACE_CENTRE = (267.0, 205.0)
"""Middle of the face in the portrait's pixels: what the clip's maps turn and scale about."""

_CLIP_NAME = "sample-clip-2.mp4"
_BACKDROP = (96, 110, 122)

Placement = tuple[float, float, float, float]
"""Where a copy of the face goes: x, y in clip pixels, scale, turn in degrees (clockwise)."""


@dataclass(frozen=True, slots=True)
class SampleClip:
    """The sample clip and its ground truth.

    Attributes:
        path: the file: 640 x 360, 30 frames a second, h264.
        truth: for each frame, one (2, 3) similarity for each copy of the portrait, from the
            portrait's pixels to the frame's (continuous pixels), image left first; an empty
            list where the frame shows no face.
    """

    path: Path
    truth: tuple[tuple[NDArray[np.float64], ...], ...]

    def __len__(self) -> int:
        return len(self.truth)


def sample_photo() -> Path:
    """Path of the portrait of Grace Hopper, 512 x 600 pixels, one face.

    Raises:
        MissingInputError: matplotlib is not installed, or without its sample data.
    """
    spec = importlib.util.find_spec("matplotlib")
    hint = "reinstall matplotlib with its sample data"
    if spec is None or spec.origin is None:
        raise MissingInputError("grace_hopper.jpg", "matplotlib is not installed", hint)
    # Found without importing: matplotlib takes a moment and reads its configuration.
    path = Path(spec.origin).parent / "mpl-data" / "sample_data" / "grace_hopper.jpg"
    if not path.is_file():
        raise MissingInputError(str(path), "matplotlib was installed without it", hint)
    return path


def sample_clip(folder: str | os.PathLike[str] | None = None) -> SampleClip:
    """Render the sample clip, or find the one rendered before.

    Three seconds: the face pans and zooms (frames 0 to 29), turns in the picture's plane by
    30 degrees to either side (30 to 59), is gone (60 to 68), and comes back twice (69 to 89).

    Args:
        folder: where to put the file; by default the cache, ``$FEATFLOW_HOME`` or
            ``~/.cache/featflow``.

    Raises:
        MissingInputError: the portrait is not installed.
        OutputError: the folder cannot be written.
    """
    target = (Path(folder) if folder is not None else _cache_folder()) / _CLIP_NAME
    placements = _placements()
    if not target.is_file():
        _write_whole(target, placements)
    truth = tuple(tuple(_matrix(placement) for placement in frame) for frame in placements)
    return SampleClip(target, truth)


def _cache_folder() -> Path:
    home = os.environ.get("FEATFLOW_HOME")
    return Path(home) if home else Path.home() / ".cache" / "featflow"


def _placements() -> list[list[Placement]]:
    """The script of the clip, frame by frame."""
    pan = [
        [(180.0 + 280.0 * t, 170.0 + 20.0 * np.sin(6 * t), 0.45 + 0.45 * t, 0.0)]
        for t in np.linspace(0.0, 1.0, 30)
    ]
    turn = [[(330.0, 180.0, 0.7, 30.0 * np.sin(2 * np.pi * t))] for t in np.linspace(0.0, 1.0, 30)]
    empty: list[list[Placement]] = [[] for _ in range(9)]
    pair = [
        [(170.0 + 10.0 * t, 180.0, 0.5, -10.0 * t), (470.0 - 10.0 * t, 190.0, 0.55, 12.0 * t)]
        for t in np.linspace(0.0, 1.0, 21)
    ]
    return [[tuple(map(float, p)) for p in frame] for frame in pan + turn + empty + pair]  # type: ignore[misc]


def _matrix(placement: Placement) -> NDArray[np.float64]:
    """Similarity (2, 3) that puts the middle of the portrait's face where it is to go."""
    x, y, scale, degrees = placement
    angle = np.deg2rad(degrees)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = np.array([x, y]) - linear @ np.array(_FACE_CENTRE)
    return np.concatenate([linear, shift[:, None]], axis=1)


def _render(portrait: NDArray[np.uint8], placements: list[Placement]) -> NDArray[np.uint8]:
    from featflow.geometry.warp import warp

    frame = np.empty((*CLIP_SIZE, 3), np.uint8)
    frame[:] = _BACKDROP
    # Each copy keeps to its own strip, so that one portrait never covers the other's face.
    strip = CLIP_SIZE[1] // max(1, len(placements))
    inside = np.full(portrait.shape[:2], 255, np.uint8)
    for place, placement in enumerate(placements):
        columns = slice(place * strip, (place + 1) * strip)
        matrix = _matrix(placement)
        cover = warp(inside, matrix, CLIP_SIZE)[:, columns, None] / np.float32(255.0)
        picture = warp(portrait, matrix, CLIP_SIZE, "replicate")[:, columns]
        frame[:, columns] = np.rint(picture * cover + frame[:, columns] * (1 - cover))
    return frame


def _write_whole(target: Path, placements: list[list[Placement]]) -> None:
    """Encode beside the target and move it there, so that nobody ever sees half a clip."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Not mkstemp: its files are private, and a clip in the user's folder should not be.
        part = target.with_name(f".part-{secrets.token_hex(8)}.mp4")
        try:
            _encode(str(part), placements)
            with open(part, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{target}: the sample clip cannot be written: {error}") from error


def _encode(path: str, placements: list[list[Placement]]) -> None:
    import av

    from featflow.datasets.images import read_photo

    portrait = read_photo(str(sample_photo()), "JPEG").image
    # One thread and no timestamps in the header: the same bytes on every run.
    options = {"preset": "veryfast", "crf": "16", "threads": "1", "g": "15"}
    with av.open(path, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=CLIP_RATE, options=options)
        stream.height, stream.width = CLIP_SIZE
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, CLIP_RATE)
        for index, places in enumerate(placements):
            frame = av.VideoFrame.from_ndarray(_render(portrait, places), format="rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
