"""Face crops cut once and kept: a cache on disk that can be deleted at any time.

One file holds what was cut from one photo or clip. Its name is a digest of the source's content
and of all that decides how it was cut, so a changed source, table or crop rule finds no old crop.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from featflow.datasets.frame import Frame
from featflow.datasets.source import open_source
from featflow.errors import InputError, MissingInputError
from featflow.files import atomic_path, output_error
from featflow.geometry.crop import CropRule
from featflow.geometry.similarity import compose
from featflow.geometry.warp import warp

Rows = NDArray[np.int64]

_VERSION = b"chips 1"


@dataclass(frozen=True, slots=True)
class ChipFile:
    """Crops of one source.

    Attributes:
        path: the file, a ``.npy`` array.
        count: crops in it.
        shape: of one crop, (size, size, layers).
    """

    path: Path
    count: int
    shape: tuple[int, int, int]

    @property
    def is_whole(self) -> bool:
        """Whether the file is there and as long as its crops."""
        return self.path.is_file() and self.path.stat().st_size > self.count * self._bytes

    @property
    def _bytes(self) -> int:
        return math.prod(self.shape)

    def read(self, index: int) -> NDArray[np.uint8]:
        """One crop, (size, size, layers) uint8.

        Raises:
            InputError: the cache was deleted or changed since the dataset was made.
        """
        # Counted from the end, so that the header need not be parsed; no file stays open, so
        # that thousands of photos do not use up the descriptors and workers share nothing.
        try:
            with self.path.open("rb") as file:
                file.seek((index - self.count) * self._bytes, 2)
                content = file.read(self._bytes)
        except OSError as error:
            raise InputError(
                str(self.path), "this crop was deleted", "make the dataset again"
            ) from error
        if len(content) != self._bytes:
            raise InputError(str(self.path), "this crop was cut short", "make the dataset again")
        return np.frombuffer(bytearray(content), np.uint8).reshape(self.shape)

    def write(self, chips: NDArray[np.uint8]) -> None:
        """Keep crops, whole or not at all."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(self.path, error) from error
        with atomic_path(self.path) as temporary, temporary.open("wb") as file:
            np.lib.format.write_array(file, np.ascontiguousarray(chips), allow_pickle=False)


def split_layers(chip: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Crop (S, S, 3) and masks (M, S, S) of one chip (S, S, 3 + M)."""
    height, width, layers = chip.shape
    if layers == 3:
        return chip, np.empty((0, height, width), np.uint8)
    crop = np.empty((height, width, 3), np.uint8)
    masks = np.empty((layers - 3, height, width), np.uint8)
    # Slicing copies byte by byte; OpenCV takes many at once, and loading is mostly this copy.
    cv2.mixChannels([chip], [crop, *masks], [n for at in range(layers) for n in (at, at)])
    return crop, masks


def default_cache() -> Path:
    """``$FEATFLOW_HOME/chips``, or its counterpart in the user's cache folder."""
    from featflow.hub.places import home_folder

    return home_folder() / "chips"


def chip_key(source: Path, rule: CropRule, *decisive: bytes) -> str:
    """Digest of a source's content, the crop rule and what else decides the crops.

    Raises:
        InputError: the source cannot be read.
    """
    try:
        with source.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").digest()
    except FileNotFoundError as error:
        raise MissingInputError(str(source), "no such file") from error
    except OSError as error:
        raise InputError(str(source), f"cannot be read: {error.strerror}") from error
    digest = hashlib.sha256(_VERSION)
    for part in (content, repr(rule).encode(), *decisive):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def cut_source(
    source: Path,
    frames: Rows,
    sizes_px: NDArray[np.int64],
    matrices: NDArray[np.floating[Any]],
    rule: CropRule,
) -> NDArray[np.uint8]:
    """Cut all faces of one photo or clip, reading it once and in order.

    Args:
        source: the file.
        frames: (N,) frame of each face.
        sizes_px: (N, 2) height and width that the frames had when the faces were found.
        matrices: (N, 2, 3) maps from original frame to crop.
        rule: size of the crops and what lies outside the frame.

    Returns:
        (N, size, size, 3) uint8 RGB.

    Raises:
        InputError: it cannot be decoded, ends before the last frame, or has another size now.
    """
    chips = np.zeros((len(frames), rule.size, rule.size, 3), np.uint8)
    wanted = {int(index): np.flatnonzero(frames == index) for index in np.unique(frames)}
    for frame in _wanted_frames(source, wanted):
        rows = wanted.pop(frame.index)
        _check_size(frame, sizes_px[rows])
        to_original = np.diag([1 / frame.scale, 1 / frame.scale, 1.0])[:2]
        for row in rows:
            matrix = compose(matrices[row], to_original)
            chips[row] = warp(frame.image, matrix, (rule.size, rule.size), rule.outside)
        if not wanted:
            break
    if wanted:
        raise InputError(
            str(source), f"has no frame {min(wanted)}, which the table names", "was it replaced?"
        )
    return chips


def _wanted_frames(source: Path, wanted: Mapping[int, Rows]) -> Iterator[Frame]:
    step = math.gcd(*wanted) or None
    frames = iter(open_source(str(source), skip_frames=step))
    with closing(frames):  # type: ignore[type-var]  # a generator, declared as an iterator
        for frame in frames:
            if frame.error is not None:
                raise frame.error
            if frame.index in wanted:
                yield frame


def _check_size(frame: Frame, sizes_px: NDArray[np.int64]) -> None:
    told = {(int(h), int(w)) for h, w in sizes_px} - {(0, 0)}
    if told - {frame.size_px}:
        (height, width), now = min(told), frame.size_px
        raise InputError(
            frame.source,
            f"is {now[1]} x {now[0]} pixels, but was {width} x {height} when faces were found",
            "was it replaced?",
        )
