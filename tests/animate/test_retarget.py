import numpy as np
import pandas as pd
import pytest

from featflow.animate.blendshapes import blendshape_poses
from featflow.animate.calibration import Calibration
from featflow.animate.pose import INDEX, neutral, pack, unpack
from featflow.animate.retarget import FexRetargeter, resample
from featflow.errors import OptionError, SchemaError

PLAIN = {"smoothing": False, "breathing": False, "calibration": Calibration()}


def table(points=None, **columns):
    length = len(points) if points is not None else max(np.size(v) for v in columns.values())
    data = {"frame": np.arange(length), "time": np.arange(length) / 30, **columns}
    if points is not None:
        for i in range(68):
            data[f"x_{i}"], data[f"y_{i}"] = points[:, i, 0], points[:, i, 1]
        for name in ("Pitch", "Roll", "Yaw"):
            data.setdefault(name, np.zeros(length))
    return pd.DataFrame(data)


def pose_of(frame, **options):
    return unpack(FexRetargeter(**{**PLAIN, **options}).poses(frame)[-1])


def nonzero(pose):
    return {name: value for name, value in pose.items() if abs(value) > 1e-9}


def test_a_row_of_known_values_becomes_the_expected_45_numbers():
    row = table(
        Pitch=np.radians(7.5),
        Yaw=np.radians(-5),
        Roll=np.radians(3),
        gaze_pitch=np.radians(7.5 + 10),
        gaze_yaw=np.radians(-5 - 5),
        AU01=0.3,
        AU02=0.2,
        AU04=0.1,
        AU05=0.25,
        AU06=0.4,
        AU12=0.2,
        AU14=0.15,
        AU15=0.3,
        AU20=0.0,
        AU25=0.1,
        AU26=0.04,
        AU43=0.5,
    )
    expected = {
        "head_x": 0.5,
        "head_y": -0.5,
        "neck_z": 0.2,
        "body_y": -0.15,
        "body_z": 0.06,
        "iris_rotation_x": 0.4,
        "iris_rotation_y": -0.2,
        "mouth_smirk": 0.15,
        **{f"eye_wink_{s}": 0.5 for s in ("left", "right")},
        **{f"eye_surprised_{s}": 0.5 for s in ("left", "right")},
        **{f"eye_raised_lower_eyelid_{s}": 0.5 for s in ("left", "right")},
        **{f"eyebrow_raised_{s}": 0.5 for s in ("left", "right")},
        **{f"eyebrow_troubled_{s}": 0.1 for s in ("left", "right")},
        **{f"eyebrow_angry_{s}": 0.25 for s in ("left", "right")},
        **{f"mouth_raised_corner_{s}": 0.2 for s in ("left", "right")},
        **{f"mouth_lowered_corner_{s}": 0.5 for s in ("left", "right")},
    }
    found = pose_of(row)
    np.testing.assert_allclose(list(found.values()), pack(expected)[0], atol=1e-6)


def test_positive_angles_look_up_turn_and_tilt_to_the_subjects_right():
    found = pose_of(table(Pitch=0.1, Yaw=0.1, Roll=0.1))
    assert found["head_x"] > 0
    assert found["head_y"] > 0  # the image left, as the default animator draws it
    assert found["neck_z"] > 0


def test_a_smile_turns_closed_eyes_happy():
    found = pose_of(table(Pitch=0.0, AU12=0.6, AU43=1.0))
    assert found["eye_happy_wink_left"] == pytest.approx(1)
    assert found["eye_wink_left"] == pytest.approx(0)


def test_landmarks_tell_the_eyes_apart(landmarks):
    points = np.repeat(landmarks[None], 12, 0)
    for t in range(6, 12):  # the character's left eye closes, on the image right
        points[t, [43, 44]] = points[t, [47, 46]] - [0, 0.5]
    retargeter = FexRetargeter(smoothing=False, breathing=False)
    poses = retargeter.poses(table(points))
    assert poses[:6, INDEX["eye_wink_left"]].max() < 0.1
    assert poses[6:, INDEX["eye_wink_left"]].min() > 0.8
    assert poses[:, INDEX["eye_wink_right"]].max() < 0.1


def test_au43_says_how_far_lids_close_and_landmarks_which_eye(landmarks):
    """Landmark nodes hardly follow lids, so AU43 sets the level where the table has it."""
    points = np.repeat(landmarks[None], 2, 0)
    neutral = {"calibration": Calibration(eye_open=eye_gaps(landmarks))}
    both = pose_of(table(points, AU43=np.full(2, 0.6)), **neutral)
    assert both["eye_wink_left"] == pytest.approx(0.6, abs=1e-6)
    assert both["eye_wink_right"] == pytest.approx(0.6, abs=1e-6)
    points[:, [43, 44]] = points[:, [47, 46]] - [0, 0.5]  # one eye looks closed
    one = pose_of(table(points, AU43=np.full(2, 0.5)), **neutral)
    assert one["eye_wink_left"] > 0.9
    assert one["eye_wink_right"] < 0.1
    without = pose_of(table(points), **neutral)
    assert without["eye_wink_left"] > 0.9
    assert without["eye_wink_right"] < 0.1


def eye_gaps(points):
    from featflow.animate.tracks import eye_openness

    right, left = eye_openness(points[None])[0]
    return float(right), float(left)


def test_a_track_of_blinks_finds_its_own_rest_and_its_own_closed_eyes():
    lids = np.full(100, 0.2)
    lids[50:53] = 0.7
    poses = FexRetargeter(smoothing=False).poses(table(Pitch=np.zeros(100), AU43=lids))
    assert poses[:50, INDEX["eye_wink_left"]].max() < 1e-6
    assert poses[50:53, INDEX["eye_wink_left"]].min() > 0.9


def test_what_is_usual_counts_as_neutral_only_within_what_neutral_faces_have(landmarks):
    """A clip that is all smiles and wide mouths is not played as a face at rest."""
    wide = np.repeat(landmarks[None], 20, 0)
    wide[:, [48, 60]] -= [16, 0]
    wide[:, [54, 64]] += [16, 0]
    wide[:, [65, 66, 67]] += [0, 11]
    frame = table(wide, AU12=np.full(20, 0.9), AU01=np.full(20, 0.2))
    retargeter = FexRetargeter(smoothing=False, breathing=False)
    calibration = Calibration.of_track(retargeter.track(frame))
    assert calibration.mouth_width == 0.64
    assert calibration.action_units == {"AU01": 0.2, "AU12": 0.4}
    found = unpack(retargeter.poses(frame)[-1])
    assert found["mouth_raised_corner_left"] == pytest.approx((0.9 - 0.4) / 0.6)
    assert found["eyebrow_raised_left"] == 0


def test_gaze_is_centred_by_ten_degrees_at_most():
    frame = table(Pitch=np.zeros(20), Yaw=np.zeros(20), gaze_pitch=np.full(20, np.radians(8)))
    frame["gaze_yaw"] = np.radians(20.0)
    found = unpack(FexRetargeter(smoothing=False, breathing=False).poses(frame)[-1])
    assert found["iris_rotation_x"] == pytest.approx(0, abs=1e-6)
    assert found["iris_rotation_y"] == pytest.approx((20 - 10) / 25, abs=1e-6)


def test_a_grin_opens_as_ee_and_the_lips_part_as_far_as_they_did(landmarks):
    from featflow.animate.actions import MOUTH_OPEN

    for widen, vowels in ((16, {"mouth_eee", "mouth_aaa"}), (0, {"mouth_aaa"})):
        points = np.repeat(landmarks[None], 2, 0)
        points[:, [48, 60]] -= [widen, 0]
        points[:, [54, 64]] += [widen, 0]
        points[:, [65, 66, 67]] += [0, 16]
        neutral = Calibration(mouth_width=0.56, lip_gap=0.0)
        found = pose_of(table(points), calibration=neutral)
        assert {n for n in MOUTH_OPEN if found[n] > 1e-6} == vowels
        parted = sum(found[n] * gap for n, gap in MOUTH_OPEN.items())
        assert parted == pytest.approx(lip_gap_of(points), rel=1e-5)


def lip_gap_of(points):
    from featflow.animate.tracks import lip_gap

    return float(lip_gap(points)[0])


def test_mirror_exchanges_sides_and_reverses_turns():
    frame = table(Yaw=0.1, Pitch=0.05)
    plain, mirrored = pose_of(frame), pose_of(frame, mirror=True)
    assert mirrored["head_y"] == -plain["head_y"] != 0
    assert mirrored["head_x"] == plain["head_x"] != 0


def test_calibration_is_subtracted():
    rest = Calibration(pitch=0.05, yaw=-0.02, roll=0.01)
    found = pose_of(table(Pitch=0.05, Yaw=-0.02, Roll=0.01), calibration=rest)
    assert nonzero(found) == {}


def test_rest_rows_of_a_person_play_as_rest(landmarks):
    frame = table(np.repeat(landmarks[None], 3, 0), Pitch=np.full(3, 0.1))
    calibration = Calibration.from_rest(frame)
    found = pose_of(frame, calibration=calibration)
    assert max(abs(v) for v in found.values()) < 1e-6


def test_missing_rows_hold_the_last_pose_and_then_fade():
    yaw = np.full(91, np.radians(5))
    yaw[31:] = np.nan
    frame = table(Pitch=np.where(np.isfinite(yaw), 0.0, np.nan), Yaw=yaw, AU05=np.full(91, 0.5))
    poses = FexRetargeter(**PLAIN, hold_s=1.0, decay_s=0.5).poses(frame)
    for name, full in (("head_y", 0.5), ("eye_surprised_left", 1.0)):
        column = poses[:, INDEX[name]]
        np.testing.assert_allclose(column[:61], full, atol=1e-5)
        assert column[75] == pytest.approx(full * np.exp(-0.5 / 0.5), rel=0.01)
        assert (np.diff(column[61:]) < 0).all()


def test_a_table_without_any_face_stays_at_rest():
    frame = table(Pitch=np.full(5, np.nan), Yaw=np.full(5, np.nan))
    np.testing.assert_array_equal(FexRetargeter(**PLAIN).poses(frame), np.zeros((5, 45)))


def test_two_people_must_be_told_apart():
    frame = pd.DataFrame(
        {
            "frame": [0, 0, 1, 1],
            "time": [0, 0, 0.1, 0.1],
            "Pitch": [0.1, 0.2, 0.1, 0.2],
            "Identity": ["Person_0", "Person_1"] * 2,
            "FaceRectWidth": [10.0, 20.0, 30.0, 20.0],
            "FaceRectHeight": [10.0, 20.0, 30.0, 20.0],
        }
    )
    with pytest.raises(SchemaError, match=r"Person_0, Person_1.*person="):
        FexRetargeter(**PLAIN).poses(frame)
    with pytest.raises(SchemaError, match="person="):
        FexRetargeter(**PLAIN).poses(frame.drop(columns="Identity"))
    with pytest.raises(OptionError, match="'Person_7'"):
        FexRetargeter("Person_7", **PLAIN).poses(frame)
    head = INDEX["head_x"]
    full = np.radians(15)
    one = FexRetargeter("Person_1", **PLAIN).poses(frame)[:, head]
    np.testing.assert_allclose(one, 0.2 / full, rtol=1e-5)
    largest = FexRetargeter("largest", **PLAIN).poses(frame)[:, head]
    np.testing.assert_allclose(largest, np.array([0.2, 0.1]) / full, rtol=1e-5)


def test_what_is_no_table_of_faces_is_refused():
    with pytest.raises(SchemaError, match="Pitch"):
        FexRetargeter().poses(pd.DataFrame({"a": [1]}))
    with pytest.raises(SchemaError, match="pandas"):
        FexRetargeter().poses([1, 2])
    with pytest.raises(OptionError, match="brow"):
        FexRetargeter(brow="raised")


def test_breathing_follows_the_tables_own_time():
    frame = pd.DataFrame({"frame": [0, 1, 2], "time": [0.0, 1.0, 2.0], "Pitch": np.zeros(3)})
    poses = FexRetargeter(smoothing=False).poses(frame)
    np.testing.assert_allclose(poses[:, INDEX["breathing"]], [0, 0.5, 1.0], atol=1e-6)


def test_resampling_goes_by_time():
    poses = np.concatenate([neutral(), pack({"head_y": 1})])
    even = resample(poses, np.array([0.0, 1.0]), fps=4)
    np.testing.assert_allclose(even[:, INDEX["head_y"]], [0, 0.25, 0.5, 0.75, 1.0])


def test_a_table_plays_on_the_animator_and_back(puppet, landmarks):
    """Poses, the landmarks that the animator gives them, and the poses read from these."""
    rng = np.random.default_rng(0)
    rows = np.zeros((60, 45), np.float32)
    for name in ("eye_wink_left", "eye_wink_right", "mouth_aaa"):
        rows[:, INDEX[name]] = rng.uniform(0, 1, 60)
    for name in ("head_x", "head_y", "neck_z"):
        rows[:, INDEX[name]] = rng.uniform(-1, 1, 60)
    rows[0] = 0
    points = np.array([puppet.landmarks(row) for row in rows])
    angles = {"Pitch": 15 * rows[:, 39], "Yaw": 10 * rows[:, 40], "Roll": 15 * rows[:, 41]}
    frame = table(points, **{n: np.radians(a.astype(float)) for n, a in angles.items()})
    poses = FexRetargeter(smoothing=False).poses(frame)
    for name in ("eye_wink_left", "eye_wink_right", "mouth_aaa"):
        i = INDEX[name]
        assert np.corrcoef(rows[:, i], poses[:, i])[0, 1] > 0.9, name
    np.testing.assert_allclose(poses[:, 39:42], rows[:, 39:42], atol=1e-5)


def shapes(**values):
    base = dict.fromkeys(
        ("jawOpen", "eyeBlinkLeft", "eyeBlinkRight", "mouthSmileLeft", "mouthSmileRight"), 0.0
    )
    return {**base, **values}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"eyeBlinkLeft": 0.4}, {"eye_wink_left": 0.5}),
        ({"eyeWideRight": 0.25}, {"eye_surprised_right": 0.5}),
        ({"cheekSquintLeft": 0.4}, {"eye_raised_lower_eyelid_left": 0.5}),
        ({"browDownRight": 0.2}, {"eyebrow_angry_right": 0.5}),
        ({"browOuterUpLeft": 0.5}, {"eyebrow_raised_left": 0.5}),
        (
            {"browInnerUp": 0.3},
            {"eyebrow_raised_left": 0.3, "eyebrow_raised_right": 0.3},
        ),
        (
            {"mouthFrownLeft": 0.15, "mouthFrownRight": 0.15},
            {"mouth_lowered_corner_left": 0.5, "mouth_lowered_corner_right": 0.5},
        ),
        # Both eyes to the subject's right: the left one inwards, the right one outwards.
        ({"eyeLookInLeft": 0.75, "eyeLookOutRight": 0.75}, {"iris_rotation_y": 1}),
        ({"eyeLookOutLeft": 0.75, "eyeLookInRight": 0.75}, {"iris_rotation_y": -1}),
        # Down is down on both sides (EasyVtuber adds the left one).
        ({"eyeLookDownLeft": 0.75, "eyeLookDownRight": 0.75}, {"iris_rotation_x": -1}),
        ({"eyeLookUpLeft": 0.75}, {"iris_rotation_x": 0.5}),
    ],
)
def test_blendshapes_have_the_published_effect(given, expected):
    found = unpack(blendshape_poses(shapes(**given))[0])
    assert nonzero(found) == pytest.approx(expected)


def test_a_smile_lifts_corners_and_makes_blinks_happy():
    found = unpack(
        blendshape_poses(shapes(mouthSmileLeft=0.7, mouthSmileRight=0.7, eyeBlinkLeft=0.8))[0]
    )
    assert found["eye_happy_wink_left"] == pytest.approx(1)
    assert found["eye_wink_left"] == 0
    assert found["mouth_raised_corner_right"] == pytest.approx(0.7)


def test_vowels_are_the_bounded_least_squares_solution():
    """Independent oracle: scipy's minimiser on the published cost."""
    from scipy.optimize import minimize

    looks = np.array([[1, 1, 0, 0], [0, 1, 0, 0], [0.5, 0.3, 0.25, 0.75], [1, 0.5, 0.5, 0.4]])
    rng = np.random.default_rng(0)
    for _ in range(5):
        jaw, lower, funnel, pucker = rng.uniform(0, 1, 4)
        wanted = np.array([np.clip((jaw - 0.1) / 0.3, 0, 1), lower, funnel, pucker])
        best = minimize(
            lambda w, b=wanted: ((w @ looks - b) ** 2).sum() + 0.01 * w.sum(),
            np.full(4, 0.5),
            bounds=[(0, 1)] * 4,
            options={"ftol": 1e-14},
        ).x
        found = unpack(
            blendshape_poses(
                shapes(
                    jawOpen=jaw,
                    mouthLowerDownLeft=lower,
                    mouthLowerDownRight=lower,
                    mouthFunnel=funnel,
                    mouthPucker=pucker,
                )
            )[0]
        )
        assert found["mouth_aaa"] == pytest.approx(best[0], abs=1e-3)
        assert found["mouth_iii"] == pytest.approx(best[1], abs=1e-3)
        rounded = min(best[2] + best[3], 1)
        assert found["mouth_uuu"] + found["mouth_ooo"] == pytest.approx(rounded, abs=2e-3)


def test_prefixed_names_rows_and_head_angles_are_taken():
    poses = blendshape_poses(
        {f"bs_{n}": [0.0, v] for n, v in shapes(eyeBlinkRight=0.8).items()},
        head={"Pitch": [0, 0.1], "Yaw": [0, 0.05], "Roll": [0, -0.1]},
    )
    assert poses.shape == (2, 45)
    assert poses[1, INDEX["eye_wink_right"]] == pytest.approx(1)
    assert poses[1, INDEX["head_y"]] == pytest.approx(np.degrees(0.05) / 10, rel=1e-5)
    with pytest.raises(SchemaError, match="jawOpen"):
        blendshape_poses({"mouthSmileLeft": 0})
