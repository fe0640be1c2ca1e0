"""The 45 pose parameters: names, groups, ranges, and checking what a caller hands in.

Order and ranges are those of Talking Head Anime 3. "left" and "right" are the character's
own: the left eye lies on the image right. Positive ``head_x`` looks up, positive ``head_y``
turns to the character's right (the image left), positive ``neck_z`` and ``body_z`` tilt to the
character's right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.errors import ArrayError, OptionError

Pose = NDArray[np.float32]

_SIDED = {
    "eyebrow": ("troubled", "angry", "lowered", "raised", "happy", "serious"),
    "eye": ("wink", "happy_wink", "surprised", "relaxed", "unimpressed", "raised_lower_eyelid"),
}
_MOUTH = ("aaa", "iii", "uuu", "eee", "ooo", "delta")


def _both(stem: str) -> tuple[str, str]:
    return f"{stem}_left", f"{stem}_right"


def _names() -> tuple[str, ...]:
    names = [n for part, kinds in _SIDED.items() for k in kinds for n in _both(f"{part}_{k}")]
    names += _both("iris_small")
    names += [f"mouth_{shape}" for shape in _MOUTH]
    names += [*_both("mouth_lowered_corner"), *_both("mouth_raised_corner"), "mouth_smirk"]
    names += ["iris_rotation_x", "iris_rotation_y", "head_x", "head_y", "neck_z"]
    return (*names, "body_y", "body_z", "breathing")


POSE_NAMES: tuple[str, ...] = _names()
"""The 45 names in order."""

INDEX: MappingProxyType[str, int] = MappingProxyType({n: i for i, n in enumerate(POSE_NAMES)})
"""Position of each name."""

GROUPS: MappingProxyType[str, slice] = MappingProxyType(
    {"eyebrow": slice(0, 12), "face": slice(12, 39), "rotation": slice(39, 45)}
)
"""The stages of the published networks: 12, 27 and 6 parameters."""

SIGNED: tuple[str, ...] = POSE_NAMES[37:44]
"""Parameters that run from -1 to 1; all others run from 0 to 1."""

LOW: Pose = np.array([-1.0 if name in SIGNED else 0.0 for name in POSE_NAMES], np.float32)
HIGH: Pose = np.ones(45, np.float32)
LOW.setflags(write=False)
HIGH.setflags(write=False)

HEAD_DEGREES: MappingProxyType[str, float] = MappingProxyType(
    {"head_x": 15.0, "head_y": 10.0, "neck_z": 15.0}
)
"""Head angle in degrees at the value 1, in the default animator and in retargeting."""

GAZE_DEGREES = 25.0
"""Angle of the eyes in the head at an iris rotation of 1."""

MIRROR_SIGN: Pose = np.ones(45, np.float32)
MIRROR_SIGN[[INDEX[n] for n in ("iris_rotation_y", "head_y", "neck_z", "body_y", "body_z")]] = -1
MIRROR_SIGN.setflags(write=False)


def _mirror_order() -> NDArray[np.int64]:
    swap = {"left": "right", "right": "left"}
    order = []
    for name in POSE_NAMES:
        stem, _, side = name.rpartition("_")
        order.append(INDEX[f"{stem}_{swap[side]}"] if side in swap else INDEX[name])
    return np.array(order, np.int64)


MIRROR: NDArray[np.int64] = _mirror_order()
MIRROR.setflags(write=False)


def neutral() -> Pose:
    """The pose at rest, (1, 45) zeros."""
    return np.zeros((1, 45), np.float32)


def check_pose(pose: Any, *, strict: bool = False) -> Pose:
    """Check one pose and clip it to the ranges.

    Args:
        pose: (1, 45) float32, finite.
        strict: raise on a value out of range where it would be clipped.

    Returns:
        A new (1, 45) float32 array within the ranges.

    Raises:
        ArrayError: not an array, or wrong shape, dtype or value; the message names the fix.
    """
    if not isinstance(pose, np.ndarray):
        raise ArrayError("pose", f"is a {type(pose).__name__}", "pass a (1, 45) float32 array")
    if pose.shape != (1, 45):
        hint = "use pose[None]" if pose.shape == (45,) else "one inference takes one (1, 45) pose"
        raise ArrayError("pose", f"has shape {pose.shape}", hint)
    if pose.dtype != np.float32:
        raise ArrayError("pose", f"has dtype {pose.dtype}", "use pose.astype(np.float32)")
    return clip_poses(pose, strict=strict)


def clip_poses(poses: NDArray[np.floating[Any]], *, strict: bool = False) -> Pose:
    """Clip (..., 45) poses to the ranges, as float32.

    Raises:
        ArrayError: wrong last axis, a value that is not finite, or with ``strict`` one that is
            out of range.
    """
    values = np.asarray(poses, np.float32)
    if values.ndim < 1 or values.shape[-1] != 45:
        raise ArrayError("poses", f"have shape {values.shape}", "the last axis holds 45 values")
    finite = np.isfinite(values)
    if not finite.all():
        raise ArrayError("pose", f"{_named(~finite)} not finite", "hold the last good value")
    clipped = np.clip(values, LOW, HIGH)
    outside = clipped != values
    if strict and outside.any():
        raise ArrayError("pose", f"{_named(outside)} out of range", "clip it, or strict=False")
    return clipped + np.float32(0.0)  # turns minus zero into zero


def _named(bad: NDArray[np.bool_]) -> str:
    where = np.flatnonzero(bad.reshape(-1, 45).any(0))
    names = [POSE_NAMES[i] for i in where[:3]]
    more = f" and {len(where) - 3} more" if len(where) > 3 else ""
    return f"{', '.join(names)}{more} is" if len(where) == 1 else f"{', '.join(names)}{more} are"


def pack(values: Mapping[str, float] | Sequence[float]) -> Pose:
    """A (1, 45) float32 pose from named values (the rest 0) or from 45 numbers in order.

    Raises:
        OptionError: a name is unknown.
        ArrayError: not 45 numbers, or a value that is not finite.
    """
    pose = neutral()
    if isinstance(values, Mapping):
        for name, value in values.items():
            if name not in INDEX:
                raise OptionError(f"no pose parameter is called {name!r}; see POSE_NAMES")
            pose[0, INDEX[name]] = value
        return clip_poses(pose)
    row = np.asarray(values, np.float32)
    if row.shape != (45,):
        raise ArrayError("pose", f"has shape {row.shape}", "pass 45 numbers or a dict of names")
    return clip_poses(row[None])


def unpack(pose: NDArray[np.floating[Any]]) -> dict[str, float]:
    """Name to value of a pose (1, 45) or (45,)."""
    row = np.asarray(pose, np.float64).reshape(-1)
    if row.shape != (45,):
        raise ArrayError("pose", f"has shape {np.shape(pose)}", "pass one pose of 45 values")
    return dict(zip(POSE_NAMES, row.tolist(), strict=True))


def mirror_poses(poses: NDArray[np.floating[Any]]) -> Pose:
    """Poses (..., 45) of the mirrored character: sides exchanged, turns and tilts reversed."""
    values = np.asarray(poses, np.float32)
    return np.asarray(values[..., MIRROR] * MIRROR_SIGN + np.float32(0.0), np.float32)
