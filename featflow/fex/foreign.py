"""Tables of other programs, brought to featflow's columns, units and signs.

py-feat: columns keep their names. The emotion names of its second detector become ours and
``approx_time`` (``MM:SS``) becomes ``time`` in seconds. Its boxes are expanded crop boxes,
not detections, and the signs of its head pose and gaze differ between its versions: both
are left as they are.

OpenFace: its camera frame has x to the image's right, y down and z away from the camera;
its head rotation is ``Rx(a) @ Ry(b) @ Rz(c)`` in that frame, so that a head turned up has a
negative ``pose_Rx`` and one turned to its own right a positive ``pose_Ry``. Turning the
frame half round its x axis gives featflow's (x right, y up, z towards the camera).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featflow.errors import InputError
from featflow.fex.arrow import conform
from featflow.fex.meta import new_meta
from featflow.fex.schema import ACTION_UNITS, COLUMNS, LANDMARK, present_groups
from featflow.fex.table import Fex
from featflow.geometry.rotation import angles_from_rotation

Floats = NDArray[np.float64]

_PYFEAT_EMOTIONS = {
    "Neutral": "neutral",
    "Happy": "happiness",
    "Sad": "sadness",
    "Surprise": "surprise",
    "Fear": "fear",
    "Disgust": "disgust",
    "Anger": "anger",
}
_OPENFACE_MARKS = ({"success", "confidence"}, {"pose_Rx", "gaze_0_x"}, {"AU01_r"}, {"pose_Tx"})
_OPENFACE_INTENSITY = 5.0
_MM_IN_CM = 10.0
_HALF_TURN_ABOUT_X = np.diag([1.0, -1.0, -1.0])


def adopt(frame: pd.DataFrame, path: Path) -> Fex:
    """Recognise whose table this is and bring it to featflow's columns.

    Args:
        frame: the table as read.
        path: its file, for messages and as ``input`` where the table names none.

    Raises:
        InputError: the table has no column that featflow knows.
    """
    names = set(frame.columns)
    if "FaceRectX" not in names and any(marks <= names for marks in _OPENFACE_MARKS):
        return _stamp(_from_openface(frame, path), "OpenFace", path)
    found = present_groups(_rename_emotions(frame).columns)
    if not found and len(frame.columns):
        raise InputError(
            str(path),
            "has none of the columns of featflow, py-feat or OpenFace",
            "read it with pandas and rename its columns, see docs/table.md",
        )
    if "approx_time" in names or set(_PYFEAT_EMOTIONS) <= names or "FaceRectX" in names:
        return _stamp(_from_pyfeat(frame), "py-feat or unknown", path)
    return Fex(conform(frame))


def _stamp(frame: pd.DataFrame, program: str, path: Path) -> Fex:
    step = {"step": "read", "written_by": program, "file": path.name}
    return Fex(frame, meta=new_meta(provenance=[step]))


def _rename_emotions(frame: pd.DataFrame) -> pd.DataFrame:
    if set(_PYFEAT_EMOTIONS) <= set(frame.columns):
        return frame.rename(columns=_PYFEAT_EMOTIONS)
    return frame


def _from_pyfeat(frame: pd.DataFrame) -> pd.DataFrame:
    frame = _rename_emotions(frame)
    if "approx_time" in frame.columns and "time" not in frame.columns:
        seconds = [clock_seconds(text) for text in frame["approx_time"]]
        frame = frame.assign(approx_time=np.array(seconds, np.float64))
        frame = frame.rename(columns={"approx_time": "time"})
    return conform(frame)


def clock_seconds(text: Any) -> float:
    """Seconds of ``"MM:SS"`` or ``"HH:MM:SS"`` (minutes may pass 59); NaN for anything else."""
    parts = str(text).split(":")
    if len(parts) < 2:
        return float("nan")
    try:
        return float(sum(float(p) * 60**i for i, p in enumerate(reversed(parts))))
    except ValueError:
        return float("nan")


def _from_openface(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    made: dict[str, Any] = _openface_source(frame, path)
    if "confidence" in frame:
        made["FaceScore"] = _numbers(frame, ["confidence"])[:, 0].clip(0, 1)
    for name in LANDMARK.names():
        if name in frame:
            made[name] = frame[name]
    made.update(_openface_pose(frame))
    made.update(_openface_gaze(frame))
    made.update(_openface_action_units(frame))
    table = pd.DataFrame(made, index=frame.index)
    if "success" in frame:
        failed = ~frame["success"].astype(bool)
        table.loc[failed, [n for n in table if _is_prediction(str(n))]] = np.nan
        if "FaceScore" in table:
            table.loc[failed, "FaceScore"] = 0.0
    used = {"frame", "timestamp", "confidence", *LANDMARK.names()}
    rest = frame[[n for n in frame.columns if n not in used and n not in table.columns]]
    return conform(pd.concat([table, pd.DataFrame(rest)], axis=1))


def _is_prediction(name: str) -> bool:
    return name in COLUMNS and COLUMNS[name].dtype == "float32"


def _numbers(frame: pd.DataFrame, names: list[str]) -> Floats:
    return frame[names].to_numpy(np.float64)


def _openface_source(frame: pd.DataFrame, path: Path) -> dict[str, Any]:
    made: dict[str, Any] = {"input": np.full(len(frame), path.stem, object)}
    if "frame" in frame:  # OpenFace counts from 1
        made["frame"] = frame["frame"].to_numpy(np.int64) - 1
    if "timestamp" in frame:
        made["time"] = _numbers(frame, ["timestamp"])[:, 0]
    return made


def _openface_pose(frame: pd.DataFrame) -> dict[str, Floats]:
    made: dict[str, Floats] = {}
    rotation = [f"pose_R{axis}" for axis in "xyz"]
    if set(rotation) <= set(frame.columns):
        pitch, roll, yaw = openface_rotation(_numbers(frame, rotation)).T
        made.update(Pitch=pitch, Roll=roll, Yaw=yaw)
    place = [f"pose_T{axis}" for axis in "xyz"]
    if set(place) <= set(frame.columns):
        x, y, z = (_numbers(frame, place) * [1.0, -1.0, 1.0] / _MM_IN_CM).T
        made.update(X=x, Y=y, Z=z)
    return made


def openface_rotation(angles: Floats) -> Floats:
    """OpenFace's ``pose_Rx, pose_Ry, pose_Rz`` (N, 3) as pitch, roll, yaw (N, 3), radians."""
    (sa, sb, sc), (ca, cb, cc) = np.sin(angles).T, np.cos(angles).T
    # Rx(a) @ Ry(b) @ Rz(c), written out for the entries that the angles need
    theirs = np.empty((len(angles), 3, 3))
    theirs[:, 0] = np.stack([cb * cc, -cb * sc, sb], -1)
    theirs[:, 1] = np.stack([ca * sc + sa * sb * cc, ca * cc - sa * sb * sc, -sa * cb], -1)
    theirs[:, 2] = np.stack([sa * sc - ca * sb * cc, sa * cc + ca * sb * sc, ca * cb], -1)
    ours = _HALF_TURN_ABOUT_X @ theirs @ _HALF_TURN_ABOUT_X
    return angles_from_rotation(ours)


def _openface_gaze(frame: pd.DataFrame) -> dict[str, Floats]:
    """Gaze from the eyes' mean direction, or from the two angles where only they are there."""
    vectors = [f"gaze_{eye}_{axis}" for eye in "01" for axis in "xyz"]
    angles = ["gaze_angle_x", "gaze_angle_y"]
    if set(vectors) <= set(frame.columns):
        direction = _numbers(frame, vectors).reshape(-1, 2, 3).mean(1)
    elif set(angles) <= set(frame.columns):
        right, down = np.tan(_numbers(frame, angles)).T
        direction = np.stack([right, down, np.full(len(frame), -1.0)], -1)
    else:
        return {}
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y, z = (direction / np.linalg.norm(direction, axis=1, keepdims=True)).T
    pitch, yaw = np.arcsin(np.clip(-y, -1, 1)), np.arctan2(-x, -z)
    return {"gaze_pitch": pitch, "gaze_yaw": yaw, "gaze_angle": np.arccos(np.clip(-z, -1, 1))}


def _openface_action_units(frame: pd.DataFrame) -> dict[str, Any]:
    """Intensities 0..5 as 0..1. AU45 (blink) stands for AU43 (eyes closed): one muscle state."""
    source = {au: f"AU{45 if au == 43 else au:02d}_r" for au in ACTION_UNITS}
    return {
        f"AU{au:02d}": (frame[name] / _OPENFACE_INTENSITY).clip(0, 1)
        for au, name in source.items()
        if name in frame.columns
    }
