"""From rows of a table of faces to poses."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from featflow.animate import tracks
from featflow.animate.actions import MOUTH_OPEN
from featflow.animate.calibration import Calibration
from featflow.animate.filters import smooth
from featflow.animate.idle import breath
from featflow.animate.pose import GAZE_DEGREES, HEAD_DEGREES, INDEX, Pose, clip_poses, mirror_poses
from featflow.animate.tracks import Track, one_person
from featflow.errors import OptionError

Floats = NDArray[np.float64]
Brow = Literal["angry", "troubled", "lowered", "serious"]

_CLOSED = 0.86  # part of the usual gap that a full wink of the default animator takes away
_BROW_RISE = 0.12
_CORNER_RISE = 0.08


class FexRetargeter:
    """Turns the rows of one person into poses.

    Head angles, lids, lips and brows come from pose and landmarks; action units and gaze are
    used where the table has them. Rows without a face hold the last pose and then fade to rest.

    Args:
        person: whose rows, see :func:`~featflow.animate.tracks.one_person`.
        calibration: what is neutral; None learns eyes, lips and brows from the table itself.
        mirror: act like a mirror image: the person's right becomes the character's left.
        smoothing: One-Euro smoothing by the table's times.
        brow: what a drawn-down brow (AU04) becomes.
        body_gain: how much of the head's turn and tilt the body follows.
        breathing: breathe by the table's times.
        hold_s: seconds that the last pose is held where no face was found.
        decay_s: seconds in which it then fades to a third.
        fps: frames a second where the table has no times.
    """

    def __init__(
        self,
        person: str | None = None,
        calibration: Calibration | None = None,
        *,
        mirror: bool = False,
        smoothing: bool = True,
        brow: Brow = "angry",
        body_gain: float = 0.3,
        breathing: bool = True,
        hold_s: float = 0.5,
        decay_s: float = 0.4,
        fps: float = 30.0,
    ) -> None:
        if f"eyebrow_{brow}_left" not in INDEX or brow in ("raised", "happy"):
            raise OptionError(f"brow is angry, troubled, lowered or serious, got {brow!r}")
        if hold_s < 0 or decay_s <= 0:
            raise OptionError("hold_s must be at least 0 and decay_s above 0")
        self.person = person
        self.calibration = calibration
        self.mirror, self.smoothing, self.brow = mirror, smoothing, brow
        self.body_gain, self.breathing = float(body_gain), breathing
        self.hold_s, self.decay_s, self.fps = float(hold_s), float(decay_s), fps

    def track(self, table: Any) -> Track:
        """Rows of the person."""
        return Track(one_person(table, self.person), self.fps)

    def poses(self, table: Any) -> Pose:
        """(T, 45) poses within the ranges, one a row of the person.

        Raises:
            SchemaError: not a table of faces, or several people and none chosen.
        """
        track = self.track(table)
        calibration = self.calibration or Calibration.of_track(track)
        values = np.full((len(track), 45), 0.0)
        _head(values, track, calibration, self.body_gain)
        _eyes(values, track, calibration)
        _brows(values, track, calibration, self.brow)
        _mouth(values, track, calibration)
        _gaze(values, track, calibration)
        values[track.faceless()] = np.nan
        if self.smoothing and len(values):
            held = _held(values, track.times_s, np.inf, 1.0)
            smoothed = smooth(held, track.times_s, min_cutoff_hz=2.0, beta=5.0)
            values = np.where(np.isfinite(values), smoothed, np.nan)
        values = _held(values, track.times_s, self.hold_s, self.decay_s)
        if self.breathing:
            values[:, INDEX["breathing"]] = breath(track.times_s)
        poses = clip_poses(values)
        return mirror_poses(poses) if self.mirror else poses


def ramp(value: Floats, low: float, high: float) -> Floats:
    """0 below ``low``, 1 above ``high``, straight between; NaN stays."""
    return np.clip((value - low) / (high - low), 0.0, 1.0)


def _set(values: Floats, name: str, column: Floats) -> None:
    values[:, INDEX[name]] = column


def _set_both(values: Floats, stem: str, right: Floats, left: Floats) -> None:
    _set(values, f"{stem}_right", right)
    _set(values, f"{stem}_left", left)


def _known(column: Floats) -> Floats:
    """A measure that only some tables have: 0 where it is missing."""
    return np.nan_to_num(column, nan=0.0)


def _head(values: Floats, track: Track, neutral: Calibration, body_gain: float) -> None:
    angles = {
        "head_x": track.column("Pitch") - neutral.pitch,
        "head_y": track.column("Yaw") - neutral.yaw,
        "neck_z": track.column("Roll") - neutral.roll,
    }
    for name, angle in angles.items():
        _set(values, name, np.clip(np.degrees(angle) / HEAD_DEGREES[name], -1, 1))
    values[:, INDEX["body_y"]] = body_gain * values[:, INDEX["head_y"]]
    values[:, INDEX["body_z"]] = body_gain * values[:, INDEX["neck_z"]]


def _au(track: Track, number: int, neutral: Calibration) -> Floats:
    """An action unit above its level at rest, on a scale that still ends at 1."""
    rest = neutral.action_units.get(f"AU{number:02d}", 0.0)
    return np.clip((track.au(number) - rest) / max(1.0 - rest, 1e-6), 0.0, 1.0)


def _smile(track: Track, neutral: Calibration) -> Floats:
    return _known(ramp(_au(track, 12, neutral), 0.4, 0.6))


def _closed(track: Track, neutral: Calibration) -> Floats:
    """Closure of the right and left lids, (T, 2).

    Landmarks tell the eyes apart. How far lids are closed is told better by AU43, where the
    table has it: landmark nodes hardly follow them (on 299 labelled photographs the lids'
    closure correlates .84 with AU43 of au/tiny, .34 with the gap of landmark/tiny).
    """
    gap = tracks.eye_openness(track.landmarks()) / np.array(neutral.eye_open)
    seen = np.clip((1 - gap) / _CLOSED, 0, 1)
    rest = neutral.action_units.get("AU43", 0.0)
    told = np.clip((track.au(43) - rest) / max(neutral.shut - rest, 1e-6), 0, 1)[:, None]
    apart = _known(seen - seen.mean(1, keepdims=True))
    return np.where(np.isfinite(told), np.clip(told + apart, 0, 1), seen)


def _eyes(values: Floats, track: Track, neutral: Calibration) -> None:
    smile = _smile(track, neutral)
    closed = _closed(track, neutral)
    _set_both(values, "eye_wink", (1 - smile) * closed[:, 0], (1 - smile) * closed[:, 1])
    _set_both(values, "eye_happy_wink", smile * closed[:, 0], smile * closed[:, 1])
    wide = _known(np.clip(_au(track, 5, neutral) / 0.5, 0, 1))
    _set_both(values, "eye_surprised", wide, wide)
    cheek = _known(ramp(_au(track, 6, neutral), 0.1, 0.7))
    _set_both(values, "eye_raised_lower_eyelid", cheek, cheek)


def _brows(values: Floats, track: Track, neutral: Calibration, brow: Brow) -> None:
    smile = _smile(track, neutral)
    if track.has("AU01", "AU02", "AU04"):
        inner, outer, lower = (_au(track, number, neutral) for number in (1, 2, 4))
        raised = np.repeat(np.clip(inner + outer, 0, 1)[:, None], 2, axis=1)
        down = np.repeat(np.clip(lower / 0.4, 0, 1)[:, None], 2, axis=1)
        troubled = np.minimum(inner, lower)
        _set_both(values, "eyebrow_troubled", troubled, troubled)
    else:
        change = tracks.brow_height(track.landmarks()) - np.array(neutral.brow_height)
        raised = np.clip(change / _BROW_RISE, 0, 1)
        down = np.clip(-change / (_BROW_RISE / 2), 0, 1)
    _set_both(values, "eyebrow_raised", raised[:, 0], raised[:, 1])
    down = (1 - smile)[:, None] * down
    stem = f"eyebrow_{brow}"
    if brow == "troubled":
        right, left = (values[:, INDEX[f"{stem}_{side}"]] for side in ("right", "left"))
        down = np.maximum(down, np.stack([right, left], 1))
    _set_both(values, stem, down[:, 0], down[:, 1])
    happy = _known(_au(track, 12, neutral)) * smile
    _set_both(values, "eyebrow_happy", happy, happy)


def _mouth(values: Floats, track: Track, neutral: Calibration) -> None:
    if track.has("x_0"):
        points = track.landmarks()
        part = np.clip(tracks.lip_gap(points) - neutral.lip_gap, 0, MOUTH_OPEN["mouth_aaa"])
        change = tracks.mouth_width(points) - neutral.mouth_width
        rise = tracks.corner_height(points) - np.array(neutral.corner_height)
    else:
        jaw = np.fmax(_au(track, 25, neutral) * 0.5, _au(track, 26, neutral))
        part = MOUTH_OPEN["mouth_aaa"] * ramp(jaw, 0.1, 0.4)
        change, rise = np.zeros(len(track)), np.zeros((len(track), 2))
    stretched = np.fmax(ramp(change, 0.04, 0.14), ramp(_au(track, 20, neutral), 0.3, 0.8))
    for name, weight in _vowels(part, stretched, ramp(-change, 0.03, 0.12)).items():
        _set(values, name, weight)
    opened = part / MOUTH_OPEN["mouth_aaa"]
    _set(values, "mouth_uuu", (1 - opened) * ramp(-change, 0.05, 0.2))
    up = _from_au_or(_au(track, 12, neutral), 1.0, ramp(rise, 0.02, _CORNER_RISE))
    _set_both(values, "mouth_raised_corner", up[:, 0], up[:, 1])
    down = _from_au_or(_au(track, 15, neutral), 0.6, ramp(-rise, 0.03, _CORNER_RISE))
    down = down * (opened < 0.1)[:, None]
    _set_both(values, "mouth_lowered_corner", down[:, 0], down[:, 1])
    _set(values, "mouth_smirk", _known(_au(track, 14, neutral)))


def _vowels(part: Floats, stretched: Floats, rounded: Floats) -> dict[str, Floats]:
    """Vowels that part the lips by ``part`` face units together.

    Args:
        part: (T,) distance of the lips.
        stretched, rounded: (T,) 0..1. Stretched lips open as "ee" first, and as "aa" only by
            what is left: a grin bares the teeth, its jaw hardly drops.
    """
    slit, wide = MOUTH_OPEN["mouth_iii"], MOUTH_OPEN["mouth_eee"]
    more = ramp(part, slit, wide)
    eee, iii = stretched * more, stretched * ramp(part, 0.0, slit) * (1 - more)
    left = np.clip(part - slit * iii - wide * eee, 0, None)
    aaa = left * (1 - rounded) / MOUTH_OPEN["mouth_aaa"]
    ooo = np.clip(left * rounded / MOUTH_OPEN["mouth_ooo"], 0, 1)
    return {"mouth_aaa": aaa, "mouth_iii": iii, "mouth_eee": eee, "mouth_ooo": ooo}


def _from_au_or(au: Floats, full: float, measured: Floats) -> Floats:
    """The action unit where the table has it, else what the points show, (T, 2)."""
    return np.where(np.isfinite(au)[:, None], np.clip(au / full, 0, 1)[:, None], measured)


def _gaze(values: Floats, track: Track, neutral: Calibration) -> None:
    # The table's gaze is in the camera's frame, the iris turns in the head.
    up = track.column("gaze_pitch") - track.column("Pitch") - neutral.gaze_pitch
    right = track.column("gaze_yaw") - track.column("Yaw") - neutral.gaze_yaw
    _set(values, "iris_rotation_x", _known(np.clip(np.degrees(up) / GAZE_DEGREES, -1, 1)))
    _set(values, "iris_rotation_y", _known(np.clip(np.degrees(right) / GAZE_DEGREES, -1, 1)))


def _held(values: Floats, times_s: Floats, hold_s: float, decay_s: float) -> Floats:
    """NaN replaced by the last value, which is held and then fades to 0."""
    filled = values.copy()
    last, since = np.zeros(values.shape[1]), np.full(values.shape[1], -np.inf)
    for row, time in zip(filled, times_s, strict=True):
        known = np.isfinite(row)
        last[known], since[known] = row[known], time
        late = np.maximum(time - since - hold_s, 0.0) if np.isfinite(hold_s) else np.zeros(len(row))
        row[~known] = (last * np.exp(-late / decay_s))[~known]
    return filled


def resample(poses: Pose, times_s: Floats, fps: float) -> Pose:
    """Poses at even times from the first to the last, straight lines between."""
    if len(poses) < 2:
        return poses
    even = np.arange(times_s[0], times_s[-1] + 0.5 / fps, 1 / fps)
    columns = [np.interp(even, times_s, column) for column in poses.T]
    return np.stack(columns, 1).astype(np.float32)
