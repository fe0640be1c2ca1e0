"""How inputs are to be read: one validated record, shared by all readers."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from numbers import Integral, Real

from featflow.errors import MissingExtraError, OptionError

DECODER_NAMES = ("av", "decord")


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What to read of each input.

    Attributes:
        skip_frames: take every n-th frame of a clip; None takes all.
        start: first second of a clip that is wanted, inclusive.
        stop: second of a clip at which to end, exclusive.
        output_size: upper bound of the longer side of the working picture in pixels;
            None keeps every picture at its own size.
        decoder: ``"av"`` (also None) or ``"decord"``.
        frames: positions of the only frames of a clip that are wanted; None for all.

    Raises:
        OptionError: a value is out of range or contradicts another one.
        MissingExtraError: the decoder asked for is not installed.
    """

    skip_frames: int | None = None
    start: float | None = None
    stop: float | None = None
    output_size: int | None = None
    decoder: str | None = None
    frames: frozenset[int] | None = None

    def __post_init__(self) -> None:
        _check_count("skip_frames", self.skip_frames)
        _check_count("output_size", self.output_size)
        _check_second("start", self.start)
        _check_second("stop", self.stop)
        if self.stop is not None and self.stop <= (self.start or 0.0):
            raise OptionError(
                f"stop must lie after start, got start={self.start} and stop={self.stop} seconds"
            )
        _check_decoder(self.decoder)

    @property
    def step(self) -> int:
        """Distance between the frames that are wanted."""
        return self.skip_frames or 1

    @property
    def decoder_name(self) -> str:
        """Name of the decoder to use."""
        return self.decoder or "av"

    def wants(self, index: int, time_s: float) -> bool:
        """Whether the frame at this position and time is to be delivered."""
        if self.frames is not None and index not in self.frames:
            return False
        return index % self.step == 0 and not (self.start is not None and time_s < self.start)

    def is_over(self, time_s: float) -> bool:
        """Whether this time lies at or after the end of what is wanted."""
        return self.stop is not None and time_s >= self.stop


def _check_count(name: str, value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise OptionError(f"{name} must be a whole number of at least 1 or None, got {value!r}")


def _check_second(name: str, value: object) -> None:
    if value is None:
        return
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < 0:  # type: ignore[arg-type, operator]
        raise OptionError(f"{name} must be seconds (0 or more) or None, got {value!r}")


def _check_decoder(name: str | None) -> None:
    if name is not None and name not in DECODER_NAMES:
        raise OptionError(f"no decoder is called {name!r}; known: {', '.join(DECODER_NAMES)}")
    if name == "decord" and importlib.util.find_spec("decord") is None:
        raise MissingExtraError(
            "decoder='decord' needs the package decord, which is not installed; "
            "use decoder='av' or run: pip install decord"
        )
