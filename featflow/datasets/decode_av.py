"""Clips through PyAV: the reference decoder, and the default.

Packets are fed one by one, in slice threading, which gives the same frames on every machine
also where a file is damaged: with frame threading the frame at which an error surfaces
depends on the number of cores, and at 640 x 360 it is no faster.
"""

from __future__ import annotations

import math
import os
from collections.abc import Generator, Iterator
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from featflow.datasets.decoders import ClipInfo, ClipReport, Status
from featflow.datasets.display import UPRIGHT, Orientation, from_matrix
from featflow.errors import VideoError

_COUNTED_CONTAINERS = ("mov",)
"""Containers whose index lists every frame, so that a missing one can be told."""

DURATION_SLACK_S = 0.25
"""A clip may end this much before its header's duration and still count as complete."""


class AVPicture:
    """A frame as FFmpeg decoded it."""

    def __init__(
        self,
        frame: VideoFrame,
        index: int,
        time_s: float,
        orientation: Orientation,
        reformatter: VideoReformatter,
    ) -> None:
        self.index = index
        self.time_s = time_s
        self._frame = frame
        self._orientation = orientation
        self._reformatter = reformatter

    @property
    def size_px(self) -> tuple[int, int]:
        """(height, width) after the display rotation."""
        return self._orientation.size((self._frame.height, self._frame.width))

    def rgb(self, working_px: tuple[int, int]) -> NDArray[np.uint8]:
        """The upright picture at (height, width), (h, w, 3) uint8."""
        height, width = self._orientation.size(working_px)
        same = (height, width) == (self._frame.height, self._frame.width)
        # One reformatter for the clip: frame.to_ndarray(format=...) builds a scaler a frame,
        # and bilinear beats its bicubic default where only the chroma is interpolated.
        converted = self._reformatter.reformat(
            self._frame,
            width=width,
            height=height,
            format="rgb24",
            interpolation=Interpolation.BILINEAR if same else Interpolation.AREA,
        )
        pixels: NDArray[np.uint8] = converted.to_ndarray()  # type: ignore[assignment]
        return pixels if self._orientation is UPRIGHT else self._orientation.apply(pixels)


class PyAVDecoder:
    """See :class:`featflow.datasets.decoders.Decoder`.

    Args:
        path: the file.
        container: FFmpeg's short name of the container, from its first bytes.

    Raises:
        VideoError: it cannot be opened or holds no video stream.
    """

    def __init__(self, path: str, container: str) -> None:
        self.path = path
        self._name = container
        self._container = _open(path, container)
        self._stream = _video_stream(self._container, path)
        self.info = _info(self._container, self._stream, container)
        self._reformatter = VideoReformatter()
        self._orientation: Orientation | None = None
        self._first_pts: int | None = None
        self._decoded = self._packets = self._concealed = 0
        self._ended_s = -math.inf
        self._status: Status = "complete"
        self._reason = ""

    def close(self) -> None:
        """Let go of the file."""
        self._container.close()

    def report(self) -> ClipReport:
        """How the decoding went so far."""
        return ClipReport(self.path, self._status, self._decoded, self.info.frames, self._reason)

    def pictures(self) -> Generator[AVPicture, None, None]:
        """Every frame of a full sequential decode, in presentation order.

        Raises:
            VideoError: the data ends early, or cannot be decoded further.
        """
        for frame in self._frames():
            if self._orientation is None:
                self._orientation = orientation_of(frame)
            index = self._decoded
            self._decoded += 1
            self._concealed += frame.is_corrupt
            yield AVPicture(frame, index, self._time(frame), self._orientation, self._reformatter)
        self._conclude()

    def _frames(self) -> Iterator[VideoFrame]:
        # Only containers without an index need the other streams: to see how far they reach.
        streams = [self._stream] if self._is_counted else []
        try:
            for packet in self._container.demux(*streams):
                self._note(packet)
                if packet.stream_index == self._stream.index:
                    yield from self._stream.decode(packet)
        except av.FFmpegError as error:
            reason = f"cannot be decoded from frame {self._decoded} on: {error.strerror}"
            raise self._fail("damaged", reason) from error

    @property
    def _is_counted(self) -> bool:
        return self.info.frames is not None

    def _note(self, packet: Packet[Any]) -> None:
        if packet.size and packet.pts is not None and packet.time_base is not None:
            end = packet.pts + (packet.duration or 0)
            self._ended_s = max(self._ended_s, float(end * packet.time_base))
        if packet.size == 0 or packet.stream_index != self._stream.index:
            return
        if packet.is_corrupt and self._is_counted:
            # The file ends inside this packet. Decoders make up the part that is missing, some
            # with an error and some without: nothing after this point is real.
            raise self._fail("truncated", self._counts())
        self._packets += 1

    def _time(self, frame: VideoFrame) -> float:
        if frame.pts is None or frame.time_base is None:
            return math.nan
        if self._first_pts is None:
            self._first_pts = frame.pts
        ticks = frame.pts - self._first_pts
        return ticks * frame.time_base.numerator / frame.time_base.denominator

    def _conclude(self) -> None:
        """After the last packet: compare what came with what was promised."""
        declared = self.info.frames
        if declared is not None and self._packets < declared and self._is_cut():
            raise self._fail("truncated", self._counts())
        if self._decoded == 0:
            raise self._fail("damaged", "holds no frame that can be decoded")
        if self._concealed:
            self._status = "damaged"
            self._reason = f"{self._concealed} frames were partly made up by the decoder"
        elif declared is None:
            self._compare_duration()
        elif declared > self._decoded:
            self._reason = (
                f"the header counts {declared} frames, {self._decoded} are shown "
                f"(its edit list hides the others)"
            )

    def _is_cut(self) -> bool:
        """Whether the index lists a frame that lies beyond the end of the file.

        Fewer packets than frames alone do not say so: frames before the first one that an edit
        list shows are not read at all.
        """
        size = os.path.getsize(self.path)
        return any(entry.pos + entry.size > size for entry in self._stream.index_entries)

    def _compare_duration(self) -> None:
        promised, start = self._container.duration, self._container.start_time or 0
        if promised is None:
            return
        end_s = (start + promised) / 1e6
        missing = end_s - self._ended_s
        if missing > DURATION_SLACK_S:
            self._status = "truncated"
            self._reason = f"ends {missing:.2f} s before the {end_s:.2f} s that its header promises"

    def _counts(self) -> str:
        return f"the file ends early: {self._decoded} of {self.info.frames} frames"

    def _fail(self, status: Status, reason: str) -> VideoError:
        self._status, self._reason = status, reason
        return VideoError(self.path, reason, "the frames before it are kept")


def orientation_of(frame: VideoFrame) -> Orientation:
    """How a decoded frame is to be turned for display."""
    # PyAV's side data and its frame refer to each other, which would keep a whole picture until
    # the next garbage collection: a thumbnail carries the same data.
    thumbnail = frame.reformat(width=16, height=16, format="gray")
    side_data: Any = thumbnail.side_data  # the stubs know other keys than it has
    try:
        data = side_data["DISPLAYMATRIX"]
    except KeyError:
        return UPRIGHT
    orientation = from_matrix(np.frombuffer(data, np.int32))
    return UPRIGHT if orientation == UPRIGHT else orientation


def _open(path: str, container: str) -> InputContainer:
    # The absolute path keeps FFmpeg from reading "a:b.mp4" as an address, and the format keeps
    # it from guessing another one than the first bytes told.
    try:
        return av.open(
            os.path.abspath(path),
            format=container,
            options={"protocol_whitelist": "file"},
            metadata_errors="replace",  # titles in another encoding are not our business
        )
    except (av.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise VideoError(path, f"cannot be opened: {reason}", "damaged or cut short") from error


def _video_stream(container: InputContainer, path: str) -> VideoStream:
    for stream in container.streams.video:
        if stream.disposition & av.stream.Disposition.attached_pic:
            continue
        if getattr(stream, "codec_context", None) is None:
            container.close()
            raise VideoError(path, "its video is in a codec that FFmpeg does not know")
        stream.thread_type = "SLICE"
        return stream
    container.close()
    raise VideoError(path, "holds no video stream")


def _info(container: InputContainer, stream: VideoStream, name: str) -> ClipInfo:
    counted = name in _COUNTED_CONTAINERS and stream.frames > 0
    duration = container.duration
    if stream.duration is not None and stream.time_base is not None:
        duration_s = float(stream.duration * stream.time_base)
    else:
        duration_s = None if duration is None else duration / 1e6  # type: ignore[assignment]
    return ClipInfo(
        frames=stream.frames if counted else None,
        duration_s=duration_s,
        rate_hz=None if stream.average_rate is None else float(stream.average_rate),
        size_px=(stream.height, stream.width),
    )
