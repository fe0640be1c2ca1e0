"""The same frames as torch datasets, for a plain ``torch.utils.data.DataLoader``.

Each yields :class:`featflow.datasets.Frame`; give ``collate_fn=featflow.datasets.collate``,
because frames differ in size and cannot be stacked. A picture that cannot be read is a frame
with an ``error``: an exception in a worker would end the whole epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch.utils.data import Dataset, IterableDataset, get_worker_info

from featflow.datasets.arrays import count_of, frames_of
from featflow.datasets.decoders import ClipReport
from featflow.datasets.frame import Frame
from featflow.datasets.inputs import FileInput, take_apart
from featflow.datasets.options import ReadOptions
from featflow.errors import ImageError, OptionError, VideoError


def collate(frames: list[Frame]) -> list[Frame]:
    """Hand a batch on as a list, for ``DataLoader(collate_fn=...)``."""
    return frames


class ImageDataset(Dataset[Frame]):
    """Photos by position.

    Args:
        inputs: paths, folders or patterns of photos.
        output_size: upper bound of the longer side of the pictures.

    Raises:
        OptionError: an option is out of range, or an input is not a path.
    """

    def __init__(self, inputs: Any, output_size: int | None = None) -> None:
        self.options = ReadOptions(output_size=output_size)
        self.files = _files(inputs)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Frame:
        frame = next(self.files[index].read(self.options))
        if isinstance(frame, ClipReport) or frame.time_s == frame.time_s:
            name = self.files[index].name
            return Frame.failed(name, ImageError(name, "is a clip", "use VideoDataset"))
        return frame


class VideoDataset(IterableDataset[Frame]):
    """Frames of clips, in order. With several workers each takes whole clips.

    Args:
        inputs: paths, folders or patterns of clips.
        skip_frames, start, stop, output_size, decoder: see
            :func:`featflow.datasets.open_source`.

    Raises:
        OptionError: an option is out of range, or an input is not a path.
    """

    def __init__(
        self,
        inputs: Any,
        *,
        skip_frames: int | None = None,
        start: float | None = None,
        stop: float | None = None,
        output_size: int | None = None,
        decoder: str | None = None,
    ) -> None:
        self.options = ReadOptions(skip_frames, start, stop, output_size, decoder)
        self.files = _files(inputs)

    def __iter__(self) -> Iterator[Frame]:
        worker = get_worker_info()
        share = self.files if worker is None else self.files[worker.id :: worker.num_workers]
        for file in share:
            for event in file.read(self.options):
                if isinstance(event, Frame):
                    yield self._only_clips(event)

    @staticmethod
    def _only_clips(frame: Frame) -> Frame:
        if frame.error is None and frame.time_s != frame.time_s and frame.index == 0:
            error = VideoError(frame.source, "is a photo", "use ImageDataset")
            return Frame.failed(frame.source, error)
        return frame


class FrameDataset(Dataset[Frame]):
    """Frames held in memory.

    Args:
        frames: :class:`Frame` objects, arrays, tensors or PIL images, one picture each.
        output_size: upper bound of the longer side of the pictures.

    Raises:
        OptionError: ``output_size`` is out of range, or an element holds several pictures.
    """

    def __init__(self, frames: Sequence[Any], output_size: int | None = None) -> None:
        self.options = ReadOptions(output_size=output_size)
        self.frames = frames
        many = next((i for i, value in enumerate(frames) if count_of(value) > 1), None)
        if many is not None:
            raise OptionError(f"element {many} holds several pictures; use TensorDataset")

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Frame:
        number = range(len(self))[index]
        return next(frames_of(self.frames[number], f"array:{number}", self.options.output_size))


class TensorDataset(Dataset[Frame]):
    """The pictures of one array or tensor.

    Args:
        pictures: torch (N, 3, H, W) or numpy (N, H, W, 3), uint8 or floats in 0..1.
        name: what the array is called in results.
        output_size: upper bound of the longer side of the pictures.

    Raises:
        OptionError: ``output_size`` is out of range, or the array has not four dimensions.
    """

    def __init__(
        self, pictures: Any, name: str = "array:0", output_size: int | None = None
    ) -> None:
        self.options = ReadOptions(output_size=output_size)
        if len(getattr(pictures, "shape", ())) != 4:
            raise OptionError("pictures must be (N, 3, H, W) torch or (N, H, W, 3) numpy")
        self.pictures = pictures
        self.name = name

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Frame:
        number = range(len(self))[index]
        return next(frames_of(self.pictures[number], self.name, self.options.output_size, number))


def _files(inputs: Any) -> list[FileInput]:
    singles = take_apart(inputs)
    files = [single for single in singles if isinstance(single, FileInput)]
    if len(files) != len(singles):
        raise OptionError("this dataset takes paths; for arrays use FrameDataset or TensorDataset")
    return files
