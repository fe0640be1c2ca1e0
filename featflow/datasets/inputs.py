"""What the user gave, taken apart into single inputs: files, arrays, streams of frames."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from featflow.datasets.arrays import count_of, frames_of, is_picture
from featflow.datasets.decoders import ClipReport
from featflow.datasets.frame import Frame
from featflow.datasets.images import read_photo
from featflow.datasets.options import ReadOptions
from featflow.datasets.sniff import looks_like_media, sniff
from featflow.datasets.video import expected_frames, read_clip
from featflow.errors import ArrayError, FeatflowError, InputError, MissingInputError, OptionError

_log = logging.getLogger("featflow")

_KNOWN = (
    "a path, a folder, a pattern, a list of these, a PIL image, a numpy array, a torch tensor, "
    "or an iterator of frames"
)


@dataclass(frozen=True, slots=True)
class FileInput:
    """A photo or a clip; which of the two is looked up when it is read.

    Attributes:
        name: the path.
        error: why there is no such input (an empty folder, a pattern without match).
    """

    name: str
    error: InputError | None = None

    def read(self, options: ReadOptions) -> Iterator[Frame | ClipReport]:
        """Its frames, and for a clip a report at the end; failures come as failed frames."""
        try:
            if self.error is not None:
                raise self.error
            kind = sniff(self.name)
            if kind.medium == "photo":
                yield read_photo(self.name, kind.format, options.output_size)
                return
        except FeatflowError as error:
            yield Frame.failed(self.name, error)
            return
        yield from read_clip(self.name, kind.format, options)

    def expected_frames(self, options: ReadOptions) -> int | None:
        """About how many frames it has."""
        try:
            kind = sniff(self.name)
        except InputError:
            return 1
        return 1 if kind.medium == "photo" else expected_frames(self.name, kind.format, options)


@dataclass(frozen=True, slots=True)
class ArrayInput:
    """An array, tensor, PIL image or frame in memory.

    Attributes:
        name: what it is called in results.
        value: the object.
    """

    name: str
    value: Any

    def read(self, options: ReadOptions) -> Iterator[Frame | ClipReport]:
        """Its frames; failures come as failed frames."""
        yield from frames_of(self.value, self.name, options.output_size)

    def expected_frames(self, options: ReadOptions) -> int | None:
        """How many frames it has."""
        return count_of(self.value)


@dataclass(slots=True)
class StreamInput:
    """An iterable of frames of unknown length: a generator, a camera.

    Attributes:
        name: what it is called in results.
        frames: the iterable; an iterator can be read once.
        spent: whether an iterator was handed out already.
    """

    name: str
    frames: Iterable[Any]
    spent: bool = False

    def check(self) -> None:
        """Refuse a second reading of what can be read once.

        Raises:
            InputError: it was read already.
        """
        if self.spent:
            raise InputError(
                self.name, "this iterator was read already", "give a list, or a new iterator"
            )

    def read(self, options: ReadOptions) -> Iterator[Frame | ClipReport]:
        """Its frames, numbered as they come; failures come as failed frames."""
        self.check()
        self.spent = isinstance(self.frames, Iterator)
        index = 0
        for value in self.frames:
            count = 0
            for frame in self._frames_of(value, options, index):
                yield frame
                count += 1
            index += count

    def _frames_of(self, value: Any, options: ReadOptions, index: int) -> Iterator[Frame]:
        if is_picture(value):
            yield from frames_of(value, self.name, options.output_size, index)
            return
        error = ArrayError(self.name, f"a {type(value).__name__} is not a frame")
        yield Frame.failed(self.name, error, index)

    def expected_frames(self, options: ReadOptions) -> int | None:
        """Unknown."""
        return None


Input = FileInput | ArrayInput | StreamInput


def take_apart(inputs: Any) -> list[Input]:
    """Expand folders, patterns and lists into single inputs, in order.

    Raises:
        OptionError: an empty list, or an object that no input can be made of.
    """
    if isinstance(inputs, (list, tuple)) and not inputs:
        raise OptionError(f"the list of inputs is empty; give {_KNOWN}")
    counts = {"array": 0, "stream": 0}
    return list(_expand(inputs, counts))


def _expand(value: Any, counts: dict[str, int]) -> Iterator[Input]:
    if isinstance(value, (str, os.PathLike)):
        yield from _expand_path(os.fspath(value))
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _expand(part, counts)
    elif is_picture(value):
        name = value.source if isinstance(value, Frame) else _next_name("array", counts)
        yield ArrayInput(name, value)
    elif isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray, Mapping)):
        yield StreamInput(_next_name("stream", counts), value)
    else:
        raise OptionError(f"a {type(value).__name__} is no input; give {_KNOWN}")


def _next_name(sort: str, counts: dict[str, int]) -> str:
    counts[sort] += 1
    return f"{sort}:{counts[sort] - 1}"


def _expand_path(path: str | bytes) -> Iterator[FileInput]:
    text = os.fsdecode(path)
    if _exists(text, os.path.isdir):
        yield from _files_in(text)
    elif glob.has_magic(text) and not _exists(text, os.path.lexists):
        yield from _matches(text)
    else:
        yield FileInput(text)


def _exists(path: str, test: Any) -> bool:
    try:
        return bool(test(path))
    except ValueError:  # a null byte
        return False


def _files_in(folder: str) -> Iterator[FileInput]:
    """Photos and clips of a folder by name; hidden files and other files are left out."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        reason = InputError(folder, f"the folder cannot be read: {error.strerror}")
        yield FileInput(folder, reason)
        return
    paths = [os.path.join(folder, name) for name in names if not name.startswith(".")]
    files = [path for path in paths if os.path.isfile(path)]
    media = [path for path in files if looks_like_media(path)]
    if len(media) < len(files):
        _log.info("%s: %d files are neither photos nor clips", folder, len(files) - len(media))
    if not media:
        yield FileInput(folder, MissingInputError(folder, "the folder holds no photo or clip"))
    yield from map(FileInput, media)


def _matches(pattern: str) -> Iterator[FileInput]:
    files = [path for path in sorted(glob.glob(pattern, recursive=True)) if os.path.isfile(path)]
    if not files:
        yield FileInput(pattern, MissingInputError(pattern, "no file matches this pattern"))
    yield from map(FileInput, files)
