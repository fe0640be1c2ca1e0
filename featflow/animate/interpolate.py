"""Frames between frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from featflow.animate.sampling import premultiply, read_at, unpremultiply
from featflow.errors import OptionError

Image = NDArray[np.uint8]
Flow = NDArray[np.float32]
Draw = Callable[[NDArray[np.float32], Image], None]


@dataclass(frozen=True)
class Step:
    """Two real frames and how to draw more of them.

    Attributes:
        pose_before, pose_now: (45,) poses of the frames.
        frame_before, frame_now: (H, W, 4) BGRA, straight alpha.
        draw: draws a pose (45,) into a frame.
    """

    pose_before: NDArray[np.float32]
    pose_now: NDArray[np.float32]
    frame_before: Image
    frame_now: Image
    draw: Draw


class Interpolator(Protocol):
    """Makes the frames between two real ones.

    Attributes:
        name: what ``core.info["interpolation"]`` shows.
        scale: frames for each real one, itself included.
    """

    name: str
    scale: int

    def between(self, step: Step, outs: list[Image]) -> None:
        """Fill ``scale - 1`` frames at the times 1/scale, 2/scale, ..."""


def check_scale(scale: int) -> int:
    """The scale, if it is 2, 3 or 4."""
    if isinstance(scale, bool) or scale not in (2, 3, 4):
        raise OptionError(f"interpolation_scale must be 2, 3 or 4, got {scale!r}")
    return int(scale)


class PoseInterpolator:
    """Draws the poses in between: exact, for an animator that is deterministic.

    Args:
        scale: 2, 3 or 4.
    """

    name = "pose"

    def __init__(self, scale: int = 2) -> None:
        self.scale = check_scale(scale)

    def between(self, step: Step, outs: list[Image]) -> None:
        """Draw the mean poses."""
        change = step.pose_now - step.pose_before
        for i, out in enumerate(outs, 1):
            step.draw(step.pose_before + change * np.float32(i / self.scale), out)


class FlowInterpolator:
    """Moves the pixels of both frames along their optical flow, for any animator.

    One flow moves colour and alpha together, premultiplied, so edges do not tear. The flow is
    that of Kroeger et al. 2016 (ECCV, "Fast optical flow using dense inverse search") at half
    size, both ways, projected to the time in between.

    Args:
        scale: 2, 3 or 4.
    """

    name = "flow"

    def __init__(self, scale: int = 2) -> None:
        self.scale = check_scale(scale)
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        # The presets stop at a quarter of the size and lose hard edges by half a pixel.
        self._flow.setFinestScale(1)

    def between(self, step: Step, outs: list[Image]) -> None:
        """Fill the frames in between."""
        if np.array_equal(step.frame_before, step.frame_now):
            for out in outs:
                np.copyto(out, step.frame_now)
            return
        before, now = premultiply(step.frame_before), premultiply(step.frame_now)
        small = [_grey_half(frame) for frame in (before, now)]
        ahead = _flow_between(self._flow, small[0], small[1])
        back = _flow_between(self._flow, small[1], small[0])
        for i, out in enumerate(outs, 1):
            time = i / self.scale
            out[...] = unpremultiply(_blend(before, now, _at_time(ahead, back, small, time), time))


def _grey_half(frame: NDArray[np.float32]) -> Image:
    """Brightness and alpha in one channel, half size: a cut-out has an edge even where black."""
    height, width = frame.shape[0] // 2, frame.shape[1] // 2
    small = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    weights = np.array([0.114, 0.587, 0.299, 0.6], np.float32)
    return np.asarray(np.clip(small @ weights / np.float32(1.6), 0, 255), np.uint8)


def _flow_between(engine: cv2.DISOpticalFlow, first: Image, second: Image) -> Flow:
    start = np.zeros((*first.shape, 2), np.float32)
    return np.asarray(engine.calc(first, second, start), np.float32)


def _at_time(ahead: Flow, back: Flow, small: list[Image], time: float) -> Flow:
    """Motion (half-size pixels per unit of time) of what is seen at ``time``.

    Every pixel of both frames is carried to where it is at that time. Where several arrive, the
    one whose two ends look most alike stays; where none does, its neighbours' mean fills in.
    """
    arrivals = [
        _arrivals(ahead, small[0], small[1], time),
        _arrivals(back, small[1], small[0], 1 - time),
    ]
    place = np.concatenate([a[0] for a in arrivals])
    motion = np.concatenate([arrivals[0][1], -arrivals[1][1]])
    error = np.concatenate([a[2] for a in arrivals])
    # Whole numbers, so that numpy sorts by counting.
    rank = np.clip((256 - error) * 100, 0, 65535).astype(np.uint16)
    order = np.argsort(rank, kind="stable")
    height, width = small[0].shape
    field = np.zeros((height * width, 2), np.float32)
    seen = np.zeros(height * width, np.float32)
    field[place[order]] = motion[order]
    seen[place[order]] = 1
    return _filled(field.reshape(height, width, 2), seen.reshape(height, width))


def _arrivals(
    flow: Flow, here: Image, there: Image, time: float
) -> tuple[NDArray[np.int64], Flow, NDArray[np.float32]]:
    height, width = here.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    pixels = np.stack([x, y], -1)
    arrived = np.rint(pixels + flow * np.float32(time)).astype(np.int64)
    inside = (arrived >= 0).all(-1) & (arrived[..., 0] < width) & (arrived[..., 1] < height)
    looks = read_at(there, pixels + flow).astype(np.float32)
    # Ties (a plain ground on both sides) go to what stands out from black: the object.
    error = np.abs(looks - here) - 0.02 * here
    place = arrived[..., 1] * width + arrived[..., 0]
    return place[inside], flow[inside], error[inside]


def _filled(field: Flow, seen: NDArray[np.float32]) -> Flow:
    if seen.all():
        return field
    total = cv2.GaussianBlur(field * seen[..., None], (0, 0), 3.0)
    weight = np.maximum(cv2.GaussianBlur(seen, (0, 0), 3.0), np.float32(1e-6))
    return np.where(seen[..., None] > 0, field, total / weight[..., None]).astype(np.float32)


def _blend(
    before: NDArray[np.float32], now: NDArray[np.float32], motion: Flow, time: float
) -> NDArray[np.float32]:
    height, width = before.shape[:2]
    full = np.asarray(cv2.resize(motion, (width, height)), np.float32) * np.float32(2)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    pixels = np.stack([x, y], -1)
    first = read_at(before, pixels - full * np.float32(time))
    second = read_at(now, pixels + full * np.float32(1 - time))
    return np.asarray(first + np.float32(time) * (second - first), np.float32)
