"""From rows of a table of faces to poses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from featflow.animate import tracks
from featflow.animate.filters import smooth
from featflow.animate.idle import breath
from featflow.animate.pose import GAZE_DEGREES, HEAD_DEGREES, INDEX, Pose, clip_poses, mirror_poses
from featflow.animate.tracks import Track, one_person
from featflow.errors import OptionError

Floats = NDArray[np.float64]
Brow = Literal["angry", "troubled", "lowered", "serious"]

LEAST_ROWS = 10
"""Rows with a face below which a track is too short to know what is usual in it."""

_CLOSED = 0.86  # part of the usual gap that a full wink of the default animator takes away
_OPEN_MOUTH = 0.26
_BROW_RISE = 0.12
_CORNER_RISE = 0.08


@dataclass(frozen=True)
class Calibration:
    """What is neutral for the person in the table; the defaults are usual proportions.

    Attributes:
        pitch, roll, yaw: radians of the head at rest.
        gaze_pitch, gaze_yaw: radians of the eyes in the head at rest.
        eye_open: gap over width of the open right and left eye.
        lip_gap: distance of the lips of the closed mouth, in face sizes.
        mouth_width: over the distance of the outer eye corners.
        brow_height: right and left, in face sizes.
        corner_height: right and left, in face sizes.
    """

    pitch: float = 0.0
    roll: float = 0.0
    yaw: float = 0.0
    gaze_pitch: float = 0.0
    gaze_yaw: float = 0.0
    eye_open: tuple[float, float] = (0.30, 0.30)
    lip_gap: float = 0.0
    mouth_width: float = 0.58
    brow_height: tuple[float, float] = (0.27, 0.27)
    corner_height: tuple[float, float] = (-0.09, -0.09)

    @classmethod
    def of_track(cls, track: Track) -> Calibration:
        """What is usual in a track: eyes mostly open, lips closed at times, the rest median.

        Head and gaze keep 0: looking into the camera is neutral, whatever the person did most.
        """
        points = track.landmarks()
        points = points[np.isfinite(points).all((1, 2))]
        if len(points) < LEAST_ROWS:
            return cls()
        return cls(
            eye_open=_pair(np.percentile(tracks.eye_openness(points), 90, axis=0)),
            lip_gap=float(np.percentile(tracks.lip_gap(points), 10)),
            mouth_width=float(np.median(tracks.mouth_width(points))),
            brow_height=_pair(np.median(tracks.brow_height(points), axis=0)),
            corner_height=_pair(np.median(tracks.corner_height(points), axis=0)),
        )

    @classmethod
    def from_rest(cls, table: Any, person: str | None = None) -> Calibration:
        """Neutral as it is, on average, in rows in which the person is at rest."""
        track = Track(one_person(table, person))
        points = track.landmarks()
        points = points[np.isfinite(points).all((1, 2))]
        if not len(points):
            raise OptionError("no row of the table at rest has landmarks")
        mean = _pair_of_means
        return replace(
            cls(),
            pitch=_mean_or_zero(track.column("Pitch")),
            roll=_mean_or_zero(track.column("Roll")),
            yaw=_mean_or_zero(track.column("Yaw")),
            eye_open=mean(tracks.eye_openness(points)),
            lip_gap=float(tracks.lip_gap(points).mean()),
            mouth_width=float(tracks.mouth_width(points).mean()),
            brow_height=mean(tracks.brow_height(points)),
            corner_height=mean(tracks.corner_height(points)),
        )


def _pair(values: Floats) -> tuple[float, float]:
    return float(values[0]), float(values[1])


def _pair_of_means(values: Floats) -> tuple[float, float]:
    return _pair(values.mean(0))


def _mean_or_zero(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else 0.0


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


def _smile(track: Track) -> Floats:
    return _known(ramp(track.au(12), 0.4, 0.6))


def _eyes(values: Floats, track: Track, neutral: Calibration) -> None:
    smile = _smile(track)
    if track.has("x_0"):
        gap = tracks.eye_openness(track.landmarks()) / np.array(neutral.eye_open)
        closed = np.clip((1 - gap) / _CLOSED, 0, 1)
    else:
        closed = np.repeat(np.clip(track.au(43), 0, 1)[:, None], 2, axis=1)
    _set_both(values, "eye_wink", (1 - smile) * closed[:, 0], (1 - smile) * closed[:, 1])
    _set_both(values, "eye_happy_wink", smile * closed[:, 0], smile * closed[:, 1])
    wide = _known(np.clip(track.au(5) / 0.5, 0, 1))
    _set_both(values, "eye_surprised", wide, wide)
    cheek = _known(ramp(track.au(6), 0.1, 0.7))
    _set_both(values, "eye_raised_lower_eyelid", cheek, cheek)


def _brows(values: Floats, track: Track, neutral: Calibration, brow: Brow) -> None:
    smile = _smile(track)
    if track.has("AU01", "AU02", "AU04"):
        raised = np.repeat(np.clip(track.au(1) + track.au(2), 0, 1)[:, None], 2, axis=1)
        down = np.repeat(np.clip(track.au(4) / 0.4, 0, 1)[:, None], 2, axis=1)
        troubled = np.minimum(track.au(1), track.au(4))
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
    happy = _known(np.clip(track.au(12), 0, 1)) * smile
    _set_both(values, "eyebrow_happy", happy, happy)


def _mouth(values: Floats, track: Track, neutral: Calibration) -> None:
    if track.has("x_0"):
        points = track.landmarks()
        opened = np.clip((tracks.lip_gap(points) - neutral.lip_gap) / _OPEN_MOUTH, 0, 1)
        change = tracks.mouth_width(points) - neutral.mouth_width
        rise = tracks.corner_height(points) - np.array(neutral.corner_height)
    else:
        opened = ramp(np.fmax(track.au(25) * 0.5, track.au(26)), 0.1, 0.4)
        change, rise = np.zeros(len(track)), np.zeros((len(track), 2))
    smile = _smile(track)
    rounded = ramp(-change, 0.03, 0.12)
    _set(values, "mouth_aaa", opened * (1 - rounded))
    _set(values, "mouth_ooo", opened * rounded)
    _set(values, "mouth_uuu", (1 - opened) * ramp(-change, 0.05, 0.2))
    stretched = np.fmax(ramp(change, 0.04, 0.14), ramp(track.au(20), 0.3, 0.8))
    _set(values, "mouth_iii", (1 - smile) * stretched * (1 - opened))
    up = _from_au_or(track.au(12), 1.0, ramp(rise, 0.02, _CORNER_RISE))
    _set_both(values, "mouth_raised_corner", up[:, 0], up[:, 1])
    down = _from_au_or(track.au(15), 0.6, ramp(-rise, 0.03, _CORNER_RISE))
    down = down * (opened < 0.1)[:, None]
    _set_both(values, "mouth_lowered_corner", down[:, 0], down[:, 1])
    _set(values, "mouth_smirk", _known(np.clip(track.au(14), 0, 1)))


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
