"""The decoder protocol, what a decoder says about a clip, and which decoders there are."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Status = Literal["complete", "truncated", "damaged"]


@dataclass(frozen=True, slots=True)
class ClipInfo:
    """What a clip's header promises; none of it is trusted while decoding.

    Attributes:
        frames: declared number of frames; None where the container does not tell.
        duration_s: declared duration in seconds; None where unknown.
        rate_hz: declared average frame rate; None where unknown.
        size_px: (height, width) as stored, before the display rotation.
    """

    frames: int | None
    duration_s: float | None
    rate_hz: float | None
    size_px: tuple[int, int]

    @property
    def expected_frames(self) -> int | None:
        """Declared or estimated number of frames."""
        if self.frames is not None:
            return self.frames
        if self.duration_s is None or self.rate_hz is None:
            return None
        return max(1, round(self.duration_s * self.rate_hz))


@dataclass(frozen=True, slots=True)
class ClipReport:
    """How the decoding of one clip went.

    Attributes:
        source: path of the clip.
        status: ``"complete"``; ``"truncated"`` where the file ends before its header says;
            ``"damaged"`` where the decoder met data that it cannot read.
        decoded: frames decoded, wanted or not.
        declared: frames that the header promises; None where it does not tell.
        reason: what was found, empty where there is nothing to say.
    """

    source: str
    status: Status
    decoded: int
    declared: int | None
    reason: str = ""


class Picture(Protocol):
    """One decoded frame that is not yet converted to RGB, so that dropping it is cheap."""

    @property
    def index(self) -> int:
        """Position in the full decode, from 0."""

    @property
    def time_s(self) -> float:
        """Presentation time from the clip's first frame, seconds; NaN where it has none."""

    @property
    def size_px(self) -> tuple[int, int]:
        """(height, width) after the display rotation."""

    def rgb(self, working_px: tuple[int, int]) -> NDArray[np.uint8]:
        """The upright picture at (height, width), (h, w, 3) uint8; call before the next one."""


class Decoder(Protocol):
    """A clip, opened. Made and used in one process; a forked child opens its own."""

    @property
    def info(self) -> ClipInfo:
        """What the header promises."""

    def pictures(self) -> Generator[Picture, None, None]:
        """Every frame of a full sequential decode, in presentation order; can be read once.

        Raises:
            VideoError: at the point where the clip cannot be decoded further.
        """

    def report(self) -> ClipReport:
        """How the decoding went so far."""

    def close(self) -> None:
        """Let go of the file."""


def open_decoder(name: str, path: str, container: str) -> Decoder:
    """Open a clip.

    Args:
        name: ``"av"`` or ``"decord"``.
        path: the file.
        container: FFmpeg's name of its container format.

    Raises:
        VideoError: it cannot be opened or holds no video.
    """
    return _OPENERS[name](path, container)


def probe_clip(path: str) -> ClipInfo:
    """What a clip's header promises; decodes nothing.

    Raises:
        MissingInputError: no such file.
        VideoError: it cannot be opened or holds no video.
        InputError: it is not a clip.
    """
    from featflow.datasets.sniff import sniff
    from featflow.errors import InputError

    kind = sniff(path)
    if kind.medium != "clip":
        raise InputError(path, "is a photo, not a clip")
    decoder = _open_av(path, kind.format)
    try:
        return decoder.info
    finally:
        decoder.close()


def _open_av(path: str, container: str) -> Decoder:
    from featflow.datasets.decode_av import PyAVDecoder

    return PyAVDecoder(path, container)


def _open_decord(path: str, container: str) -> Decoder:
    from featflow.datasets.decode_decord import DecordDecoder

    return DecordDecoder(path, container)


_OPENERS: dict[str, Callable[[str, str], Decoder]] = {"av": _open_av, "decord": _open_decord}
