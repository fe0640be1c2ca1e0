"""The core: a still and poses in, frames out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.animate.animator import Animator, Image, check_image
from featflow.animate.cache import CacheStats, FrameCache, frame_key, still_digest
from featflow.animate.codecs import RegionCodec
from featflow.animate.interpolate import Interpolator, Step
from featflow.animate.pose import Pose, check_pose, clip_poses
from featflow.animate.quantize import PoseQuantizer
from featflow.animate.upscale import Upscaler
from featflow.errors import ArrayError, FeatflowError

AnimatorSource = Callable[[Image], Animator]


@dataclass(frozen=True)
class CoreStats:
    """Counts since the core was made.

    Attributes:
        inferences: poses that were asked for.
        drawn: frames that the animator drew for them (in-betweens not counted).
        cache: counts of the frame cache, or None without one.
        stages: hits and misses of the animator's own caches, by stage.
    """

    inferences: int
    drawn: int
    cache: CacheStats | None
    stages: dict[str, tuple[int, int]]


class AnimationCore:
    """Plays poses on a still.

    Each inference checks, clips and rounds the pose, looks the frame up or draws it, adds the
    frames in between and enlarges them. The arrays that it returns belong to the core and are
    written again by the next call.

    Args:
        animator: an animator, or a function that makes one for a still.
        cacher: frame cache, or None.
        interpolator: makes frames in between, or None.
        upscaler: enlarges, or None.
        quantizer: rounds poses; 1/1000 steps by default.
        strict: raise on values out of range where they would be clipped.
        info: what to add to :attr:`info`.
        size: height and width of stills, or None for any.
    """

    def __init__(
        self,
        animator: Animator | AnimatorSource,
        *,
        cacher: FrameCache | None = None,
        interpolator: Interpolator | None = None,
        upscaler: Upscaler | None = None,
        quantizer: PoseQuantizer | None = None,
        strict: bool = False,
        info: dict[str, Any] | None = None,
        size: tuple[int, int] | None = (512, 512),
    ) -> None:
        self._source = animator
        self._animator: Animator | None = animator if isinstance(animator, Animator) else None
        self._cacher = cacher
        self._interpolator = interpolator
        self._upscaler = upscaler
        self._quantizer = quantizer or PoseQuantizer.from_level(0)
        self._strict = strict
        self._info = dict(info or {})
        self._size = size
        self._still: Image | None = None
        self._scope = b""
        self._inferences = self._drawn = 0
        self._frames: list[Image] = []
        self._large: list[Image] = []
        self._before: Image = np.zeros((0, 0, 4), np.uint8)
        self._pose_before = np.zeros(45, np.float32)

    def set_image(self, image: Image) -> None:
        """Take the still of a character and begin at rest.

        Args:
            image: (512, 512, 4) uint8 BGRA, straight alpha; it is copied.

        Raises:
            ArrayError: the message names the fix.
        """
        still = np.ascontiguousarray(check_image(image, self._size)).copy()
        if not isinstance(self._source, Animator):
            self._animator = self._source(still)
        animator = self._ready_animator()
        animator.set_image(still)
        self._still = still
        self._scope = still_digest(still) + animator.fingerprint
        count = self._interpolator.scale if self._interpolator else 1
        self._frames = [still.copy() for _ in range(count)]
        factor = self._upscaler.scale if self._upscaler else 1
        height, width = still.shape[0] * factor, still.shape[1] * factor
        self._large = [np.zeros((height, width, 4), np.uint8) for _ in range(count)]
        self.reset()

    setImage = set_image

    def _ready_animator(self) -> Animator:
        if self._animator is None:
            raise FeatflowError("no still yet: call core.set_image(image) first")
        return self._animator

    def _ready_still(self) -> Image:
        if self._still is None:
            raise FeatflowError("no still yet: call core.set_image(image) first")
        return self._still

    def reset(self) -> None:
        """Begin at rest again: the next frames in between start from the still."""
        self._before = self._ready_still().copy()
        self._pose_before = np.zeros(45, np.float32)

    def inference(self, pose: Pose, copy: bool = False) -> list[Image]:
        """Frames for one pose.

        Args:
            pose: (1, 45) float32, see :mod:`featflow.animate.pose`.
            copy: return arrays of the caller's own.

        Returns:
            As many uint8 BGRA arrays as ``interpolation_scale`` says (1 without), in the order
            of time: first those between the last pose and this one, last the frame of this pose.
            The next call writes into the same memory.

        Raises:
            ArrayError: the pose has an unusable shape, dtype or value.
        """
        self._ready_still()
        frames = self._play(check_pose(pose, strict=self._strict)[0])
        return [frame.copy() for frame in frames] if copy else list(frames)

    def _play(self, pose: NDArray[np.float32]) -> list[Image]:
        codes = self._quantizer.codes(pose)
        self._inferences += 1
        self._draw_cached(codes, self._frames[-1])
        return self._finish(self._quantizer.values(codes))

    def _finish(self, pose: NDArray[np.float32]) -> list[Image]:
        """Frames in between, then enlarged; ``self._frames[-1]`` holds the real frame."""
        now = self._frames[-1]
        if self._interpolator is not None:
            draw = self._ready_animator().render
            step = Step(self._pose_before, pose, self._before, now, draw)
            self._interpolator.between(step, self._frames[:-1])
        np.copyto(self._before, now)
        self._pose_before = pose
        if self._upscaler is None:
            return self._frames
        for frame, large in zip(self._frames, self._large, strict=True):
            self._upscaler.upscale(frame, large)
        return self._large

    def _draw_cached(self, codes: NDArray[np.int16], out: Image) -> None:
        still = self._ready_still()
        key = frame_key(self._scope, codes)
        if self._cacher is not None and self._cacher.get(key, still, out):
            return
        self._ready_animator().render(self._quantizer.values(codes), out)
        self._drawn += 1
        if self._cacher is not None:
            self._cacher.put(key, still, out)

    def render(self, poses: Any, **options: Any) -> Iterator[list[Image]]:
        """Play a whole sequence, drawing each distinct rounded pose once.

        Args:
            poses: (T, 45) numbers, or a table of faces of one person with the columns of a Fex.
            options: for a table, arguments of :class:`~featflow.animate.retarget.FexRetargeter`.

        Yields:
            For each row what :meth:`inference` returns; the arrays are written again by the
            next row.
        """
        rows = self._poses_of(poses, options)
        self.reset()
        codes = self._quantizer.codes(clip_poses(rows, strict=self._strict))
        still, codec = self._ready_still(), RegionCodec()
        waiting = Counter(row.tobytes() for row in codes)
        kept: dict[bytes, bytes] = {}
        for row in codes:
            key = row.tobytes()
            self._inferences += 1
            if key in kept:
                codec.unpack(kept[key], still, self._frames[-1])
            else:
                self._draw_cached(row, self._frames[-1])
            waiting[key] -= 1
            if not waiting[key]:
                kept.pop(key, None)
            elif key not in kept:
                kept[key] = codec.pack(self._frames[-1], still)
            yield list(self._finish(self._quantizer.values(row)))

    def _poses_of(self, poses: Any, options: dict[str, Any]) -> NDArray[np.floating[Any]]:
        if isinstance(poses, np.ndarray):
            if poses.ndim != 2:
                raise ArrayError("poses", f"have shape {poses.shape}", "pass (T, 45): pose[None]")
            if options:
                raise FeatflowError(f"options {sorted(options)} apply to tables, not to poses")
            return poses
        from featflow.animate.retarget import FexRetargeter

        return FexRetargeter(**options).poses(poses)

    def stats(self) -> CoreStats:
        """Counts so far."""
        stages = getattr(self._animator, "stage_counts", None)
        return CoreStats(
            self._inferences,
            self._drawn,
            self._cacher.stats() if self._cacher else None,
            stages() if stages else {},
        )

    @property
    def info(self) -> dict[str, Any]:
        """What runs: backend, device, interpolation, upscaling, codec, and what was ignored."""
        animator = self._animator
        return {
            "backend": animator.name if animator else None,
            "device": "cpu",
            "interpolation": self._interpolator.name if self._interpolator else None,
            "upscaling": self._upscaler.name if self._upscaler else None,
            "cacher": self._cacher.codec.name if self._cacher else None,
            "ignored": {},
            **self._info,
        }

    def supports(self, name: str) -> bool:
        """Whether the pose parameter of this name has an effect on this still."""
        return self._ready_animator().supports(name)

    def close(self) -> None:
        """Close the cache; the core can not be used afterwards."""
        if self._cacher is not None:
            self._cacher.close()
