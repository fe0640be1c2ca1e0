import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from featflow.animate.pose import (
    GROUPS,
    HIGH,
    INDEX,
    LOW,
    POSE_NAMES,
    check_pose,
    mirror_poses,
    neutral,
    pack,
    unpack,
)
from featflow.animate.quantize import PoseQuantizer
from featflow.errors import ArrayError, FeatflowError, OptionError

POSES = arrays(np.float32, (1, 45), elements=st.floats(-1, 1, width=32)).map(
    lambda p: np.clip(p, LOW, HIGH)
)

# Position of some names in the published order (animate.md section 2), typed in by hand.
KNOWN = {
    "eyebrow_troubled_left": 0,
    "eyebrow_angry_right": 3,
    "eyebrow_serious_right": 11,
    "eye_wink_left": 12,
    "eye_happy_wink_left": 14,
    "eye_surprised_left": 16,
    "eye_relaxed_left": 18,
    "eye_unimpressed_left": 20,
    "eye_raised_lower_eyelid_right": 23,
    "iris_small_left": 24,
    "mouth_aaa": 26,
    "mouth_iii": 27,
    "mouth_uuu": 28,
    "mouth_eee": 29,
    "mouth_ooo": 30,
    "mouth_delta": 31,
    "mouth_lowered_corner_left": 32,
    "mouth_raised_corner_left": 34,
    "mouth_smirk": 36,
    "iris_rotation_x": 37,
    "iris_rotation_y": 38,
    "head_x": 39,
    "head_y": 40,
    "neck_z": 41,
    "body_y": 42,
    "body_z": 43,
    "breathing": 44,
}


def test_the_45_names_groups_and_ranges_are_the_published_ones():
    assert len(POSE_NAMES) == len(set(POSE_NAMES)) == 45
    assert {name: POSE_NAMES.index(name) for name in KNOWN} == KNOWN
    assert [rows.stop - rows.start for rows in GROUPS.values()] == [12, 27, 6]
    assert np.flatnonzero(LOW == -1).tolist() == [37, 38, 39, 40, 41, 42, 43]
    assert set(LOW.tolist()) == {-1.0, 0.0}
    assert set(HIGH.tolist()) == {1.0}


@given(POSES)
def test_names_and_positions_round_trip(pose):
    np.testing.assert_array_equal(pack(unpack(pose)), pose)


@pytest.mark.parametrize(
    ("pose", "fix"),
    [
        (np.zeros(45, np.float32), r"pose\[None\]"),
        (np.zeros((1, 45)), r"astype\(np.float32\)"),
        (np.zeros((2, 45), np.float32), r"one \(1, 45\) pose"),
        (np.zeros((1, 44), np.float32), r"\(1, 45\)"),
        (np.full((1, 45), np.nan, np.float32), "not finite"),
        ([0.0] * 45, r"\(1, 45\) float32 array"),
    ],
)
def test_an_unusable_pose_is_refused_and_the_fix_named(pose, fix):
    with pytest.raises(ArrayError, match=fix):
        check_pose(pose)


def test_a_nan_is_named():
    pose = neutral()
    pose[0, INDEX["mouth_aaa"]] = np.inf
    with pytest.raises(ArrayError, match="mouth_aaa is not finite"):
        check_pose(pose)


def test_out_of_range_is_clipped_or_refused():
    pose = neutral()
    pose[0, INDEX["head_x"]], pose[0, INDEX["eye_wink_left"]] = -3, -1
    assert check_pose(pose)[0, 39] == -1
    assert check_pose(pose)[0, 12] == 0
    with pytest.raises(ArrayError, match="eye_wink_left, head_x are out of range"):
        check_pose(pose, strict=True)


def test_checking_does_not_write_into_the_callers_array():
    pose = np.full((1, 45), 2, np.float32)
    checked = check_pose(pose)
    assert (pose == 2).all()
    assert not np.shares_memory(pose, checked)


def test_unknown_names_are_refused():
    with pytest.raises(OptionError, match="'mouth_zzz'"):
        pack({"mouth_zzz": 1})
    with pytest.raises(FeatflowError):
        pack([0.0] * 44)


def test_mirror_exchanges_sides_and_reverses_turns_but_not_nods():
    mirrored = unpack(mirror_poses(pack({"eye_wink_left": 1, "head_y": 0.5, "head_x": 0.25})))
    assert {k: v for k, v in mirrored.items() if v} == {
        "eye_wink_right": 1,
        "head_y": -0.5,
        "head_x": 0.25,
    }


@given(POSES)
def test_mirroring_twice_changes_nothing(pose):
    np.testing.assert_array_equal(mirror_poses(mirror_poses(pose)), pose)


@given(POSES, st.integers(0, 8))
def test_quantising_is_idempotent_and_moves_no_value_by_more_than_half_a_step(pose, level):
    quantizer = PoseQuantizer.from_level(level)
    once = quantizer(pose)
    np.testing.assert_array_equal(quantizer(once), once)
    assert (np.abs(once - pose) <= quantizer.steps / 2 + 1e-6).all()


def test_minus_zero_and_zero_have_one_code_and_order_matters():
    quantizer = PoseQuantizer.from_level(0)
    minus = neutral() * np.float32(-1)
    assert np.signbit(minus).all()
    assert quantizer.codes(minus).tobytes() == quantizer.codes(neutral()).tobytes()
    left, right = pack({"eye_wink_left": 1}), pack({"eye_wink_right": 1})
    assert quantizer.codes(left).tobytes() != quantizer.codes(right).tobytes()


def test_one_ulp_below_a_step_is_the_same_code():
    quantizer = PoseQuantizer.from_level(1)
    step = np.float32(1 / 200)
    below = np.nextafter(step, np.float32(0))
    assert (
        quantizer.codes(pack({"mouth_aaa": step})) == quantizer.codes(pack({"mouth_aaa": below}))
    ).all()


@pytest.mark.parametrize(
    ("level", "name", "per_unit"),
    [
        (1, "head_x", 200),
        (1, "eye_wink_left", 50),
        (2, "head_y", 100),
        (3, "iris_rotation_x", 20),
        (4, "neck_z", 100),
        (4, "head_x", 50),
        (5, "head_x", 40),
        (8, "mouth_raised_corner_left", 5),
    ],
)
def test_levels_have_the_published_steps(level, name, per_unit):
    assert 1 / PoseQuantizer.from_level(level).steps[INDEX[name]] == pytest.approx(per_unit)


def test_a_bound_in_pixels_gives_the_steps_of_the_formula():
    shifts = np.linspace(1, 45, 45)
    quantizer = PoseQuantizer.from_bound(shifts, overlap=4, max_px=0.5)
    np.testing.assert_allclose(quantizer.steps, 2 * 0.5 / (4 * shifts))


@pytest.mark.parametrize("bad", [-1, 9, 1.5])
def test_levels_out_of_range_are_refused(bad):
    with pytest.raises(OptionError, match="level"):
        PoseQuantizer.from_level(bad)


def test_a_bound_of_nothing_is_refused():
    with pytest.raises(OptionError, match="max_px"):
        PoseQuantizer.from_bound(np.ones(45), 4, 0)
