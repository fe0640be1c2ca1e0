"""One door for all inputs: :func:`open_source` and the :class:`Source` that it gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from featflow.datasets.decoders import ClipReport
from featflow.datasets.frame import Frame
from featflow.datasets.inputs import Input, StreamInput, take_apart
from featflow.datasets.options import ReadOptions


class Source:
    """Frames of one or many inputs, in input order.

    Iterating decodes as it goes and can be repeated, except over iterators that the user
    gave. An input that cannot be read gives one frame whose ``error`` says why
    (:attr:`featflow.datasets.Frame.error`), after what was decoded of it, and the next input
    follows; what to do about it is the caller's choice.

    Attributes:
        inputs: the single inputs, folders and patterns expanded.
        options: how they are read.
        reports: one :class:`ClipReport` for each clip that the latest iteration has finished.
    """

    def __init__(self, inputs: list[Input], options: ReadOptions) -> None:
        self.inputs = inputs
        self.options = options
        self.reports: list[ClipReport] = []
        self._expected: list[int | None] | None = None

    def __repr__(self) -> str:
        names = ", ".join(self.names[:3]) + (", ..." if len(self.inputs) > 3 else "")
        return f"Source({len(self.inputs)} inputs: {names})"

    def __iter__(self) -> Iterator[Frame]:
        self.restart()
        for single in self.inputs:
            for event in single.read(self.options):
                if isinstance(event, ClipReport):
                    self.reports.append(event)
                else:
                    yield event

    @property
    def names(self) -> list[str]:
        """Path or name of each input."""
        return [single.name for single in self.inputs]

    @property
    def n_frames_hint(self) -> int | None:
        """About how many frames will come, for a progress bar; None where it cannot be told.

        Read from the headers, which may be wrong; costs opening each file once.
        """
        if self._expected is None:
            self._expected = [single.expected_frames(self.options) for single in self.inputs]
        known = [count for count in self._expected if count is not None]
        return sum(known) if len(known) == len(self._expected) else None

    def restart(self) -> None:
        """Forget the reports of the last iteration before a new one.

        Raises:
            InputError: an iterator among the inputs was read already.
        """
        for single in self.inputs:
            if isinstance(single, StreamInput):
                single.check()
        self.reports = []


def open_source(
    inputs: Any,
    *,
    skip_frames: int | None = None,
    start: float | None = None,
    stop: float | None = None,
    output_size: int | None = None,
    decoder: str | None = None,
) -> Source:
    """Make a source of whatever holds pictures; nothing is decoded yet.

    Args:
        inputs: path of a photo, clip or folder, or a pattern (``"clips/*.mp4"``, ``**`` goes
            into subfolders); a PIL image; a numpy array, (H, W, 3), (H, W) or (N, H, W, 3) RGB;
            a torch tensor, (3, H, W) or (N, 3, H, W), uint8 or floats in 0..1; an iterator of
            such frames; or a list of any of these. What a file is, is told by its content.
        skip_frames: take every n-th frame of each clip.
        start: first second of each clip that is wanted, inclusive.
        stop: second of each clip at which to end, exclusive.
        output_size: upper bound of the longer side of the pictures that are worked on.
            Results are in original pixels with it and without it.
        decoder: ``"av"`` (the default) or ``"decord"``, for clips; both give the same frames.

    Returns:
        the source; a :class:`Source` given as ``inputs`` is returned as it is if no option is.

    Raises:
        OptionError: an option is out of range, the list is empty, or an object in it is no
            input. Files that are missing or damaged do not raise here: see :class:`Source`.
        MissingExtraError: decord is asked for and not installed.
    """
    options = ReadOptions(skip_frames, start, stop, output_size, decoder)
    if isinstance(inputs, Source):
        return inputs if options == ReadOptions() else Source(inputs.inputs, options)
    return Source(take_apart(inputs), options)
