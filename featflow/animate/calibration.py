"""What is neutral for the person in a table of faces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.animate import tracks
from featflow.animate.tracks import Track, one_person
from featflow.errors import OptionError

Floats = NDArray[np.float64]

LEAST_ROWS = 10
"""Rows with a face below which a track is too short to know what is usual in it."""

# Where neutral faces of photographs lie (5 % to 95 % of 79, with landmark/tiny, rounded
# outwards). What is usual in a table counts as neutral only within: a clip may be all smiles.
_EYE_OPEN = (0.18, 0.40)
_LIP_GAP = (0.0, 0.06)
_MOUTH_WIDTH = (0.52, 0.64)
_BROW_HEIGHT = (0.17, 0.29)
_CORNER_HEIGHT = (-0.14, -0.02)
_AU_REST = 0.4
_SHUT = (0.6, 1.0)
_GAZE_REST = float(np.radians(10.0))


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
        action_units: name to its level at rest, such as ``{"AU01": 0.1}``; 0 where not named.
        shut: AU43 of closed eyes.
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
    action_units: Mapping[str, float] = field(default_factory=dict)
    shut: float = 1.0

    @classmethod
    def of_track(cls, track: Track) -> Calibration:
        """What is usual in a track: eyes mostly open, lips closed at times, the rest median.

        Each within what neutral faces have. The head keeps 0: looking into the camera is
        neutral, whatever the person did most. Gaze, which nodes see with a bias of its own for
        each person, is centred by at most 10 degrees.
        """
        learned: dict[str, Any] = {
            "gaze_pitch": _usual_gaze(track, "gaze_pitch", "Pitch"),
            "gaze_yaw": _usual_gaze(track, "gaze_yaw", "Yaw"),
            "action_units": _au_levels(track, lambda au: min(np.percentile(au, 10), _AU_REST)),
        }
        lids = _finite(track.au(43))
        if len(lids) >= LEAST_ROWS:
            learned["shut"] = _within(np.percentile(lids, 99), _SHUT)
        points = track.landmarks()
        points = points[np.isfinite(points).all((1, 2))]
        if len(points) < LEAST_ROWS:
            return replace(cls(), **learned)
        opened = np.percentile(tracks.eye_openness(points), 90, axis=0)
        brows = np.median(tracks.brow_height(points), axis=0)
        corners = np.median(tracks.corner_height(points), axis=0)
        return replace(
            cls(),
            eye_open=_pair(np.clip(opened, *_EYE_OPEN)),
            lip_gap=_within(np.percentile(tracks.lip_gap(points), 10), _LIP_GAP),
            mouth_width=_within(np.median(tracks.mouth_width(points)), _MOUTH_WIDTH),
            brow_height=_pair(np.clip(brows, *_BROW_HEIGHT)),
            corner_height=_pair(np.clip(corners, *_CORNER_HEIGHT)),
            **learned,
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
            gaze_pitch=_mean_or_zero(track.column("gaze_pitch") - track.column("Pitch")),
            gaze_yaw=_mean_or_zero(track.column("gaze_yaw") - track.column("Yaw")),
            action_units=_au_levels(track, np.mean, 1),
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


def _finite(values: Floats) -> Floats:
    return values[np.isfinite(values)]


def _mean_or_zero(values: Floats) -> float:
    known = _finite(values)
    return float(known.mean()) if len(known) else 0.0


def _within(value: Any, limits: tuple[float, float]) -> float:
    return float(np.clip(value, *limits))


def _usual_gaze(track: Track, gaze: str, head: str) -> float:
    known = _finite(track.column(gaze) - track.column(head))
    if len(known) < LEAST_ROWS:
        return 0.0
    return _within(np.median(known), (-_GAZE_REST, _GAZE_REST))


def _au_levels(
    track: Track, level: Callable[[Floats], Any], least: int = LEAST_ROWS
) -> dict[str, float]:
    """Level of each action unit that a track has in enough rows."""
    known = {name: _finite(track.column(name)) for name in track.action_units()}
    return {name: float(level(au)) for name, au in known.items() if len(au) >= least}
