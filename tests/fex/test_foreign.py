"""Tables of py-feat and OpenFace, built here from the descriptions of their columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from featflow.errors import InputError
from featflow.fex import read_fex
from featflow.fex.foreign import clock_seconds, openface_rotation
from featflow.fex.schema import ACTION_UNITS, EMOTIONS
from featflow.geometry.rotation import rotation_from_angles

BOX = ["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore"]
POINTS = [f"{a}_{i}" for a in "xy" for i in range(68)]
AUS = [f"AU{i:02d}" for i in ACTION_UNITS]
V2_EMOTIONS = ["Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Anger"]
EMBEDDING = [f"Identity_{i}" for i in range(1, 513)]
GAZE = ["gaze_pitch", "gaze_yaw", "gaze_angle"]
POSE = ["Pitch", "Roll", "Yaw", "X", "Y", "Z"]


def _table(names: list[str], rows: int = 3) -> pd.DataFrame:
    numbers = np.random.default_rng(0).random((rows, len(names)))
    return pd.DataFrame(numbers, columns=names)


def _tail(frame: pd.DataFrame, video: bool) -> pd.DataFrame:
    tail = {"FrameHeight": 360.0, "FrameWidth": 640.0, "input": "a.mp4", "frame": [0, 24, 1500]}
    frame = frame.assign(**tail)
    if video:
        frame["approx_time"] = ["00:00", "00:01", "61:00"]
    return frame.assign(Identity=["Person_0", None, "Person_1"])


def test_pyfeat_first_detector(tmp_path: Path) -> None:
    names = BOX + POINTS + POSE + AUS + list(EMOTIONS) + EMBEDDING + GAZE
    theirs = _tail(_table(names), video=True)
    assert theirs.shape[1] == 695
    theirs.to_csv(tmp_path / "a.csv", index=False)
    fex = read_fex(tmp_path / "a.csv")
    for group in ("faceboxes", "landmarks", "poses", "aus", "emotions", "gazes"):
        ours = getattr(fex, group)
        np.testing.assert_array_equal(ours, theirs[list(ours.columns)].astype(np.float32))
    assert fex.identity_embeddings.shape == (3, 512)
    assert fex.times.tolist() == [0, 1, 3660]
    assert fex["frame"].dtype == fex["FrameHeight"].dtype == np.int64
    assert fex["Identity"].tolist()[0] == "Person_0"
    assert fex["Identity"].isna().tolist() == [False, True, False]
    assert "approx_time" not in fex
    assert fex.meta["provenance"][0]["file"] == "a.csv"


def test_pyfeat_second_detector_and_unknown_columns(tmp_path: Path) -> None:
    names = BOX + POINTS + POSE + AUS + V2_EMOTIONS + ["valence", "arousal", *GAZE, *EMBEDDING]
    theirs = _tail(_table([*names, "jawOpen"]), video=False)
    theirs.to_csv(tmp_path / "a.csv")  # with the index column that people forget to leave out
    fex = read_fex(tmp_path / "a.csv")
    pairs = dict(
        zip(
            V2_EMOTIONS,
            ["neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger"],
            strict=True,
        )
    )
    for old, new in pairs.items():
        np.testing.assert_array_equal(fex[new], theirs[old].astype(np.float32))
        assert old not in fex
    assert list(fex.emotions.columns) == list(EMOTIONS)
    np.testing.assert_allclose(fex["valence"], theirs["valence"])
    np.testing.assert_allclose(fex["jawOpen"], theirs["jawOpen"])
    assert "" not in fex


def test_pyfeat_old_tables_of_173_columns(tmp_path: Path) -> None:
    theirs = _table(BOX + POINTS + POSE[:3] + AUS + list(EMOTIONS)).assign(input="a.jpg", frame=0.0)
    theirs.loc[1, BOX[:4] + POINTS] = np.nan
    assert theirs.shape[1] == 173
    theirs.to_csv(tmp_path / "a.csv", index=False)
    fex = read_fex(tmp_path / "a.csv")
    assert list(fex.poses.columns) == ["Pitch", "Roll", "Yaw"]
    assert fex.landmarks.isna().all(axis=1).tolist() == [False, True, False]
    assert fex["frame"].dtype == np.int64
    assert "Keep" not in fex


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("00:05", 5), ("75:01", 4501), ("1:00:02", 3602), ("", np.nan), ("a:b", np.nan)],
)
def test_clock(text: str, seconds: float) -> None:
    np.testing.assert_equal(clock_seconds(text), seconds)


def _openface(**values: object) -> pd.DataFrame:
    frame = pd.DataFrame(
        {"frame": [1, 2], "timestamp": [0.0, 0.04], "confidence": [0.9, 0.0], "success": [1, 0]}
    )
    gaze = {f"gaze_{e}_{a}": 0.0 if a != "z" else -1.0 for e in "01" for a in "xyz"}
    pose = {f"pose_{k}{a}": 0.0 for k in "TR" for a in "xyz"}
    points = dict.fromkeys(POINTS, 7.5)
    units = {f"AU{i:02d}_r": 2.5 for i in (1, 2, 4, 45)} | {"AU28_c": 1.0}
    constants = {**gaze, **pose, **points, **units, **values}
    return pd.concat([frame, pd.DataFrame(constants, index=frame.index)], axis=1)


def _read_openface(tmp_path: Path, **values: object) -> pd.DataFrame:
    # FeatureExtraction puts a blank after each comma
    path = tmp_path / "clip one.csv"
    _openface(**values).to_csv(path, index=False)
    path.write_text(path.read_text().replace(",", ", "))
    return read_fex(path)


def test_openface_rows_and_units(tmp_path: Path) -> None:
    fex = _read_openface(tmp_path, pose_Tx=120.0, pose_Ty=50.0, pose_Tz=700.0)
    assert fex["frame"].tolist() == [0, 1]
    assert fex["time"].tolist() == [0, 0.04]
    assert fex["input"].tolist() == ["clip one"] * 2
    np.testing.assert_allclose(fex["FaceScore"], [0.9, 0])
    first = fex.iloc[0]
    assert (first["X"], first["Y"], first["Z"]) == (12, -5, 70)  # mm, y down -> cm, y up
    assert (first["AU01"], first["AU43"]) == (0.5, 0.5)
    assert (first["AU45_r"], first["AU28_c"], first["success"]) == (2.5, 1, 1)  # kept as they were
    assert first["x_0"] == 7.5
    assert fex.iloc[1][["Yaw", "x_0", "AU01", "gaze_yaw"]].isna().all(), "success was 0"


@pytest.mark.parametrize(
    ("theirs", "ours", "sign"),
    [("pose_Rx", "Pitch", -1), ("pose_Ry", "Yaw", 1), ("pose_Rz", "Roll", -1)],
)
def test_openface_head_signs(theirs: str, ours: str, sign: int, tmp_path: Path) -> None:
    """Up is a negative Rx and the subject's right a positive Ry (OpenFace issues 702, 966)."""
    first = _read_openface(tmp_path, **{theirs: 0.3}).iloc[0]
    assert first[ours] == pytest.approx(0.3 * sign)
    others = {"Pitch", "Yaw", "Roll"} - {ours}
    np.testing.assert_allclose(first[list(others)].astype(float), 0, atol=1e-7)


@settings(deadline=None)
@given(st.tuples(*[st.floats(-1.2, 1.2)] * 3))
def test_openface_rotation_is_theirs_seen_in_our_frame(angles: tuple[float, float, float]) -> None:
    pitch, roll, yaw = openface_rotation(np.array([angles]))[0]
    flip = np.diag([1.0, -1.0, -1.0])
    expected = flip @ Rotation.from_euler("XYZ", angles).as_matrix() @ flip
    if expected[2, 2] > 0.05:  # our angles name a head that faces the camera
        np.testing.assert_allclose(rotation_from_angles(pitch, roll, yaw), expected, atol=1e-6)


@pytest.mark.parametrize("by", ["vectors", "angles"])
def test_openface_gaze_signs(by: str, tmp_path: Path) -> None:
    """Right in the picture is the subject's left; their y points down."""
    right, down = 0.2, 0.1
    x, y = np.tan(right), np.tan(down)
    norm = np.sqrt(x * x + y * y + 1)
    vector = {
        f"gaze_{e}_{a}": v / norm for e in "01" for a, v in zip("xyz", (x, y, -1), strict=True)
    }
    frame = _openface(**vector, gaze_angle_x=right, gaze_angle_y=down)
    if by == "angles":
        frame = frame.drop(columns=list(vector))
    frame.to_csv(tmp_path / "a.csv", index=False)
    first = read_fex(tmp_path / "a.csv").iloc[0]
    assert first["gaze_yaw"] == pytest.approx(-right, abs=1e-6)
    assert first["gaze_pitch"] == pytest.approx(-np.arcsin(y / norm), abs=1e-6)
    assert first["gaze_angle"] == pytest.approx(np.arccos(1 / norm), abs=1e-6)


def test_a_table_of_something_else_is_refused(tmp_path: Path) -> None:
    pd.DataFrame({"city": ["a"], "people": [3]}).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InputError, match="none of the columns"):
        read_fex(tmp_path / "a.csv")
