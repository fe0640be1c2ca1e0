"""A loop in step with a clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from featflow.animate.core import AnimationCore
from featflow.animate.pose import Pose
from featflow.errors import OptionError

Clock = Callable[[], float]
Sleep = Callable[[float], None]


class Pacer:
    """Waits for the next of evenly spaced moments.

    Moments are counted from the first one, so errors of single waits never add up. After a
    delay of more than one period the missed moments are skipped, not hurried through.

    Args:
        fps: moments a second.
        clock: seconds, never falling.
        sleep: waits some seconds.
    """

    def __init__(
        self, fps: float, clock: Clock = time.perf_counter, sleep: Sleep = time.sleep
    ) -> None:
        if not fps > 0:
            raise OptionError(f"fps must be above 0, got {fps}")
        self._period = 1.0 / fps
        self._clock, self._sleep = clock, sleep
        self._start: float | None = None
        self._count = 0
        self.skipped = 0

    def wait(self) -> float:
        """Wait for the next moment; returns the seconds from the first to this one."""
        now = self._clock()
        if self._start is None:
            self._start, self._count = now, 0
            return 0.0
        self._count += 1
        late = int((now - self._start) / self._period - self._count)
        if late >= 1:
            self._count += late
            self.skipped += late
        target = self._start + self._count * self._period
        while (left := target - self._clock()) > 0:
            self._sleep(left)
        return self._count * self._period


def play_live(
    core: AnimationCore,
    poses: Iterable[Pose],
    show: Callable[[NDArray[np.uint8]], None],
    pacer: Pacer,
) -> int:
    """Play poses as they come, every frame at its moment.

    Args:
        core: with its still.
        poses: (1, 45) poses; a generator may wait for a camera.
        show: takes each frame, which is written again later.
        pacer: spaces frames, those in between included.

    Returns:
        Number of frames shown.
    """
    count = 0
    for pose in poses:
        for frame in core.inference(pose):
            pacer.wait()
            show(frame)
            count += 1
    return count
