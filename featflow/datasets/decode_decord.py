"""Clips through decord, where it can be trusted, and through PyAV where it cannot.

decord fills a clip up to the frame count of its header by repeating frames, loses frames on
an error, invents times for containers without presentation stamps, and refuses files that
are cut short. So the clip's packets are surveyed first (nothing is decoded for that); a clip
that shows any of the known triggers is given to PyAV, and so is the rest of a clip on which
decord fails half-way. Times always come from the packets' own stamps.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from featflow.datasets.decode_av import DURATION_SLACK_S, PyAVDecoder, orientation_of
from featflow.datasets.decoders import ClipInfo, ClipReport, Picture
from featflow.datasets.scaling import shrink

_log = logging.getLogger("featflow")

_TRUSTED = {"mov": ("h264", "hevc", "mpeg4"), "matroska": ("h264", "hevc", "mpeg4", "vp9")}
"""Containers and codecs where each packet is one shown frame with a stamp of its own."""


@dataclass(frozen=True, slots=True)
class DecordPicture:
    """A frame as decord decoded it: already RGB, at its own size, upright."""

    index: int
    time_s: float
    pixels: NDArray[np.uint8]

    @property
    def size_px(self) -> tuple[int, int]:
        """(height, width)."""
        return (self.pixels.shape[0], self.pixels.shape[1])

    def rgb(self, working_px: tuple[int, int]) -> NDArray[np.uint8]:
        """The picture at (height, width), (h, w, 3) uint8."""
        return shrink(self.pixels, working_px)


@dataclass(frozen=True, slots=True)
class _Survey:
    """What PyAV tells of a clip at the price of one decoded frame.

    Attributes:
        times_s: presentation times of the frames, in order, from the first.
        shown_px: (height, width) as displayed.
        doubt: why decord is not to be trusted with the clip; empty where it is.
    """

    times_s: tuple[float, ...] = ()
    shown_px: tuple[int, int] = (0, 0)
    doubt: str = ""


class DecordDecoder:
    """See :class:`featflow.datasets.decoders.Decoder`.

    Args:
        path: the file.
        container: FFmpeg's short name of the container, from its first bytes.

    Raises:
        VideoError: it cannot be opened or holds no video stream.
    """

    def __init__(self, path: str, container: str) -> None:
        self.path = path
        self._container = container
        self._fallback = PyAVDecoder(path, container)
        self._decoded = 0
        self._handed_over = False

    @property
    def info(self) -> ClipInfo:
        """What the header promises."""
        return self._fallback.info

    def close(self) -> None:
        """Let go of the file."""
        self._fallback.close()

    def report(self) -> ClipReport:
        """How the decoding went so far."""
        if self._handed_over:
            return self._fallback.report()
        return ClipReport(self.path, "complete", self._decoded, self.info.frames)

    def pictures(self) -> Generator[Picture, None, None]:
        """Every frame of a full sequential decode, in presentation order.

        Raises:
            VideoError: the data ends early, or cannot be decoded further.
        """
        survey = _survey(self.path, self._container)
        doubt = survey.doubt
        if not doubt:
            doubt = yield from self._trusted(survey)
        if doubt:
            yield from self._hand_over(doubt)

    def _trusted(self, survey: _Survey) -> Generator[Picture, None, str]:
        """What decord delivers, up to the first frame that gives cause for doubt."""
        reader, doubt = _open_reader(self.path, len(survey.times_s))
        last: NDArray[np.uint8] | None = None
        for index, time_s in enumerate(survey.times_s if reader else ()):
            try:
                pixels: NDArray[np.uint8] = reader.next().asnumpy()
            except Exception as error:  # noqa: BLE001 - decord raises RuntimeError and its own
                return f"decord: {str(error).splitlines()[0]}"
            if pixels.shape[:2] != survey.shown_px:
                return f"frame {index} has another size"
            if last is not None and np.array_equal(last, pixels):
                # Padding, or a still scene: PyAV tells, at the price of its own pass.
                return f"frame {index} repeats the one before it"
            last = pixels
            self._decoded += 1
            yield DecordPicture(index, time_s, pixels)
        return doubt

    def _hand_over(self, doubt: str) -> Iterator[Picture]:
        _log.info("%s: decoded with PyAV from frame %d on: %s", self.path, self._decoded, doubt)
        self._handed_over = True
        for picture in self._fallback.pictures():
            if picture.index >= self._decoded:
                yield picture


def _open_reader(path: str, frames: int) -> tuple[Any, str]:
    """decord's reader, or None and the reason why there is none."""
    import decord

    try:
        reader = decord.VideoReader(os.path.abspath(path), ctx=decord.cpu(0), num_threads=1)
        counted = len(reader)
    except Exception as error:  # noqa: BLE001 - decord raises RuntimeError and its own
        return None, f"decord: {str(error).splitlines()[0]}"
    return (reader, "") if counted == frames else (None, f"decord counts {counted} of {frames}")


def _survey(path: str, container: str) -> _Survey:
    """Look at every packet of a clip, and at its first frame."""
    with av.open(os.path.abspath(path), format=container, metadata_errors="replace") as clip:
        stream = clip.streams.video[0]
        codec = stream.codec_context.name
        if codec not in _TRUSTED.get(container, ()):
            return _Survey(doubt=f"{codec} in {container}")
        try:
            return _survey_packets(clip, stream)
        except av.FFmpegError as error:
            return _Survey(doubt=f"it is damaged: {error.strerror}")


def _survey_packets(clip: InputContainer, stream: VideoStream) -> _Survey:
    first: VideoFrame | None = None
    stamps: list[int] = []
    for packet in clip.demux(stream):
        if packet.size and (packet.pts is None or packet.is_discard or packet.is_corrupt):
            return _Survey(doubt="it has packets that are cut, hidden, or without a time")
        if first is None:
            first = next(iter(stream.decode(packet)), None)
        if packet.size and packet.pts is not None:
            stamps.append(packet.pts)
    if first is None or stream.time_base is None:
        return _Survey(doubt="its first frame cannot be decoded")
    stamps.sort()
    base = stream.time_base
    times = [(pts - stamps[0]) * base.numerator / base.denominator for pts in stamps]
    orientation = orientation_of(first)
    doubt = "it is mirrored for display" if orientation.mirrored else _doubt_about(clip, times)
    return _Survey(tuple(times), orientation.size((first.height, first.width)), doubt)


def _doubt_about(clip: InputContainer, times: list[float]) -> str:
    """Doubts about the number of frames."""
    declared = clip.streams.video[0].frames
    if declared and declared != len(times):
        return f"{declared} frames are declared, {len(times)} are there"
    promised = (clip.duration or 0) / 1e6
    return "it ends before its header says" if promised > times[-1] + DURATION_SLACK_S else ""
