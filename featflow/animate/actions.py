"""What each pose parameter does to the landmarks, before anyone has taught the rig better.

Sizes are in units of the outer eye distance (about 9 cm on an adult), x to the image right, y
down. They are drawn by hand after the descriptions of the shapes, within what a still bears.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from featflow.animate.pose import GAZE_DEGREES, HEAD_DEGREES, INDEX, POSE_NAMES, Pose
from featflow.geometry.landmarks import MIRROR_68

Floats = NDArray[np.float64]

# Vertical shift of the five brow points, outer end first, and shift of the inner end inwards.
_BROWS: dict[str, tuple[tuple[float, ...], float]] = {
    "troubled": ((0.03, 0.0, -0.04, -0.08, -0.10), 0.01),
    "angry": ((-0.02, 0.0, 0.03, 0.06, 0.08), 0.03),
    "lowered": ((0.05, 0.06, 0.06, 0.06, 0.06), 0.0),
    "raised": ((-0.08, -0.11, -0.12, -0.11, -0.09), 0.0),
    "happy": ((-0.02, -0.05, -0.07, -0.06, -0.04), 0.0),
    "serious": ((0.02, 0.03, 0.04, 0.05, 0.05), 0.02),
}

# Shift of the mouth corner (x outwards, y down) and of the lip points beside it.
_CORNERS: dict[str, tuple[float, float]] = {
    "mouth_raised_corner": (0.05, -0.08),
    "mouth_lowered_corner": (0.01, 0.07),
}

# Shift outwards of both corners.
_WIDTHS: dict[str, float] = {
    "mouth_iii": 0.07,
    "mouth_eee": 0.05,
    "mouth_uuu": -0.10,
    "mouth_ooo": -0.07,
    "mouth_smirk": 0.05,
}

_JAW: dict[int, float] = {8: 1.0, 7: 0.95, 6: 0.8, 5: 0.5, 4: 0.2}

MOUTH_OPEN: MappingProxyType[str, float] = MappingProxyType(
    {"mouth_aaa": 0.26, "mouth_iii": 0.05, "mouth_uuu": 0.05, "mouth_eee": 0.10, "mouth_ooo": 0.17}
)
"""How far the lips part at the value 1."""

LIDS: MappingProxyType[str, tuple[float, float]] = MappingProxyType(
    {
        "eye_wink": (0.86, 0.06),
        "eye_happy_wink": (0.50, 0.42),
        "eye_surprised": (-0.28, 0.0),
        "eye_relaxed": (0.30, 0.0),
        "eye_unimpressed": (0.45, 0.04),
        "eye_raised_lower_eyelid": (0.0, 0.30),
    }
)
"""Part of the gap that the upper lid comes down and the lower lid goes up."""

MAX_CLOSED = 0.92
BODY_TILT_DEGREES = 4.0
BREATH_RISE = 0.03

UNSUPPORTED: MappingProxyType[str, str] = MappingProxyType(
    {
        "iris_small_left": "a still does not show what lies behind a smaller iris",
        "iris_small_right": "a still does not show what lies behind a smaller iris",
        "mouth_delta": "the triangular mouth is a drawing style that no still has",
        "body_y": "the body has no depth in a still",
    }
)
"""Parameters without any effect in the default animator, and why."""


def landmark_movements(learned: Mapping[str, Floats]) -> Floats:
    """Movement of the landmarks by each parameter, (45, 68, 2), zero where none is smooth.

    Lids, parting lips, gaze and turns are not here: they have warps of their own.
    """
    table = np.zeros((45, 68, 2))
    for kind, (shifts, inwards) in _BROWS.items():
        _put_both(table, f"eyebrow_{kind}", _brow(shifts, inwards))
    for stem, (out, down) in _CORNERS.items():
        _put_both(table, stem, _corner(out, down))
    for name, out in _WIDTHS.items():
        right = _corner(out, 0.0)
        table[INDEX[name]] = right + _mirrored(right)
    for name, drop in MOUTH_OPEN.items():
        for point, part in _JAW.items():
            table[INDEX[name], [point, 16 - point], 1] = drop * part * 0.8
    for name, movement in learned.items():
        table[INDEX[name]] = movement
    return table


def _brow(shifts: tuple[float, ...], inwards: float) -> Floats:
    movement = np.zeros((68, 2))
    movement[17:22, 1] = shifts
    movement[17:22, 0] = inwards * np.linspace(0, 1, 5)
    return movement


def _corner(out: float, down: float) -> Floats:
    movement = np.zeros((68, 2))
    movement[[48, 60]] = [-out, down]
    movement[[49, 59]] = [-out * 0.6, down * 0.55]
    return movement


def _mirrored(movement: Floats) -> Floats:
    return np.asarray(movement[MIRROR_68] * [-1.0, 1.0], np.float64)


def _put_both(table: Floats, stem: str, right: Floats) -> None:
    table[INDEX[f"{stem}_right"]] = right
    table[INDEX[f"{stem}_left"]] = _mirrored(right)


@dataclass(frozen=True)
class Effort:
    """What one pose asks of each warp.

    Attributes:
        smooth: (45,) weight of each row of :func:`landmark_movements`.
        lids: (2, 2) part of the gap that upper and lower lid move, right eye first.
        gaze: x to the image right and y down, each -1..1.
        mouth_open: parting of the lips in face units.
        teeth: how much of the upper teeth the vowel shows, 0..1; rounded lips hide them.
        head: pitch, roll, yaw in radians.
        body_tilt: radians, positive to the character's right.
        breath: rise of the chest in face units.
    """

    smooth: Floats
    lids: Floats
    gaze: tuple[float, float]
    mouth_open: float
    teeth: float
    head: tuple[float, float, float]
    body_tilt: float
    breath: float

    @classmethod
    def of(cls, pose: Pose) -> Effort:
        """Effort of a clipped pose (45,)."""
        value = dict(zip(POSE_NAMES, pose.astype(np.float64).tolist(), strict=True))
        vowels = sum(value[name] for name in MOUTH_OPEN)
        share = 1.0 / max(1.0, vowels)  # two vowels at once make one mouth, not a wider one
        smooth = pose.astype(np.float64)
        smooth[[INDEX[n] for n in MOUTH_OPEN]] *= share
        head = [np.radians(HEAD_DEGREES[n]) * value[n] for n in ("head_x", "neck_z", "head_y")]
        return cls(
            smooth,
            np.array([_lid_shift(value, side) for side in ("right", "left")]),
            (-value["iris_rotation_y"], -value["iris_rotation_x"]),
            share * sum(value[name] * gap for name, gap in MOUTH_OPEN.items()),
            sum(value[f"mouth_{v}"] for v in ("aaa", "iii", "eee")) / max(vowels, 1e-9),
            (float(head[0]), float(head[1]), float(head[2])),
            float(np.radians(BODY_TILT_DEGREES)) * value["body_z"],
            BREATH_RISE * value["breathing"],
        )


def _lid_shift(value: dict[str, float], side: str) -> tuple[float, float]:
    upper = sum(value[f"{stem}_{side}"] * shift[0] for stem, shift in LIDS.items())
    lower = sum(value[f"{stem}_{side}"] * shift[1] for stem, shift in LIDS.items())
    upper, lower = max(upper, LIDS["eye_surprised"][0]), min(lower, 0.5)
    fit = min(1.0, MAX_CLOSED / max(upper + lower, 1e-9)) if upper > 0 else 1.0
    return upper * fit, lower * fit


GAZE_SHIFT = float(0.8 * np.sin(np.radians(GAZE_DEGREES)))
"""Shift of the iris at a gaze of 1, in half eye widths: an eyeball's radius is 0.8 of them."""
