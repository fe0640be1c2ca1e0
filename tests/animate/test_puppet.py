import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import LinearNDInterpolator

from featflow.animate.animator import Animator
from featflow.animate.pose import HIGH, LOW, POSE_NAMES, mirror_poses, pack
from featflow.animate.puppet import MeshWarpAnimator
from featflow.animate.quantize import PoseQuantizer
from featflow.animate.rig import Rig
from featflow.errors import ArrayError, FeatflowError, OptionError
from featflow.geometry.landmarks import mirror_landmarks

UNSUPPORTED = {"iris_small_left", "iris_small_right", "mouth_delta", "body_y"}


def render(animator, pose):
    row = pack(pose)[0] if isinstance(pose, dict) else pose
    out = np.empty((512, 512, 4), np.uint8)
    animator.render(row, out)
    return out


def random_poses(count, seed=0):
    rng = np.random.default_rng(seed)
    inside = rng.uniform(LOW, HIGH, (count, 45))
    corners = np.where(rng.random((count, 45)) < 0.5, LOW, HIGH)
    sparse = inside * (rng.random((count, 45)) < 0.2)
    return np.concatenate([inside, corners, sparse]).astype(np.float32)


def gap(points, eye="right"):
    upper, lower = ((37, 38), (41, 40)) if eye == "right" else ((43, 44), (47, 46))
    return np.mean([points[low, 1] - points[up, 1] for up, low in zip(upper, lower, strict=True)])


def test_it_is_an_animator(puppet):
    assert isinstance(puppet, Animator)


def test_rest_is_the_still_byte_for_byte(puppet, still, rig, cutout):
    np.testing.assert_array_equal(render(puppet, {}), still)
    transparent = MeshWarpAnimator(rig)
    transparent.set_image(cutout)
    np.testing.assert_array_equal(render(transparent, {}), cutout)


def test_pixels_that_nothing_moves_stay_exact_under_transparency(rig, cutout):
    animator = MeshWarpAnimator(rig)
    animator.set_image(cutout)
    frame = render(animator, {"mouth_aaa": 1})
    seen = cutout[..., 3] > 0
    seen[200:] = False
    np.testing.assert_array_equal(frame[seen], cutout[seen])
    np.testing.assert_array_equal(frame[:200, :, 3], cutout[:200, :, 3])
    assert (frame[270:400] != cutout[270:400]).any()


@pytest.mark.parametrize(
    ("name", "point", "axis", "sign"),
    [
        ("head_y", 30, 0, -1),  # + turns to the character's right, the image left
        ("head_x", 30, 1, -1),  # + looks up
        ("neck_z", 27, 0, -1),  # + tilts to the character's right, the image left
        ("body_z", 27, 0, -1),
        ("eyebrow_raised_left", 24, 1, -1),
        ("eyebrow_raised_right", 19, 1, -1),
        ("eyebrow_lowered_left", 24, 1, 1),
        ("eyebrow_angry_right", 21, 1, 1),
        ("eyebrow_troubled_right", 21, 1, -1),
        ("eye_surprised_left", 43, 1, -1),
        ("eye_wink_left", 43, 1, 1),
        ("eye_raised_lower_eyelid_right", 41, 1, -1),
        ("mouth_aaa", 66, 1, 1),
        ("mouth_aaa", 8, 1, 1),
        ("mouth_raised_corner_left", 54, 1, -1),
        ("mouth_lowered_corner_right", 48, 1, 1),
        ("mouth_uuu", 48, 0, 1),
        ("mouth_iii", 48, 0, -1),
    ],
)
def test_each_parameter_moves_its_landmark_its_own_way_and_ever_further(
    puppet, landmarks, name, point, axis, sign
):
    ways = [
        sign * (puppet.landmarks(pack({name: v})[0]) - landmarks)[point, axis]
        for v in (0.25, 0.5, 0.75, 1.0)
    ]
    assert ways[0] > 0.2
    assert (np.diff(ways) > 0.1).all()


def test_left_is_the_characters_left_the_image_right(puppet, landmarks):
    moved = puppet.landmarks(pack({"eye_wink_left": 1, "eyebrow_raised_left": 1})[0])
    shift = np.linalg.norm(moved - landmarks, axis=1)
    assert shift[42:48].max() > 5
    assert shift[36:42].max() < 1
    assert shift[22:27].min() > 4
    assert shift[17:21].max() < 1


def test_a_wink_closes_at_least_80_percent_of_the_gap(puppet, landmarks):
    closed = puppet.landmarks(pack({"eye_wink_left": 1, "eye_happy_wink_right": 1})[0])
    assert gap(closed, "left") <= 0.2 * gap(landmarks, "left")
    assert gap(closed, "right") <= 0.2 * gap(landmarks, "right")
    assert gap(closed, "left") > 0


def test_a_wink_leaves_the_brow_where_it_is_even_where_it_is_low(landmarks):
    low = landmarks.copy()
    low[17:27, 1] += 14
    animator = MeshWarpAnimator(Rig(low, (512, 512)))
    brow = low[17:27] + [0, 0.04 * 110]  # its lower edge
    moved = animator.forward(brow, pack({"eye_wink_left": 1, "eye_wink_right": 1})[0])
    assert np.abs(moved - brow).max() < 1.0


def test_a_wink_hides_the_white_of_that_eye_in_the_pixels(puppet, still):
    frame = render(puppet, {"eye_wink_left": 1})
    left, right = np.s_[195:225, 276:314], np.s_[195:225, 198:236]
    white = (still[..., :3].min(-1) > 225).astype(int)
    after = (frame[..., :3].min(-1) > 225).astype(int)
    assert after[left].sum() < 0.35 * white[left].sum()
    assert after[right].sum() == white[right].sum() > 50


def column_of_the_mouth(puppet, pose):
    """Pixels from upper to lower lip in the middle, where they part."""
    points = puppet.landmarks(pack(pose)[0])
    top, bottom = points[[62, 66], 1]
    assert bottom - top > 15
    return render(puppet, pose)[int(top) + 2 : int(bottom) - 2, 256, :3].astype(int)


def test_an_open_mouth_is_dark_inside_and_shows_upper_teeth_unless_it_is_round(puppet, still):
    teeth, round_ = (column_of_the_mouth(puppet, {n: 1}) for n in ("mouth_aaa", "mouth_ooo"))
    length = int(0.06 * 110)  # of the painted teeth, in pixels of this face
    assert teeth[1:length].max() > 120
    assert teeth[length + 4 :, 1].max() < 60
    assert round_[:, 1].max() < 60


def test_a_still_that_shows_its_teeth_gets_no_painted_ones(landmarks, still):
    parted = landmarks.copy()
    parted[[61, 62, 63]] -= [0, 5]
    parted[[65, 66, 67]] += [0, 5]
    animator = MeshWarpAnimator(Rig(parted, (512, 512)))
    animator.set_image(still)
    inside = column_of_the_mouth(animator, {"mouth_aaa": 1})
    assert inside[12:, 1].max() < 75  # the still's own rows come first


def test_a_closed_eye_is_skin_with_a_dark_line_of_lashes(landmarks):
    """Iris and white are gone: between lashes and brow the colour is that of the skin around."""
    plain = np.full((512, 512, 4), (120, 150, 190, 255), np.uint8)
    for eye in (slice(36, 42), slice(42, 48)):
        outline = np.rint(landmarks[eye]).astype(np.int32)
        cv2.fillPoly(plain, [outline], (250, 250, 250, 255))
        centre = np.rint(landmarks[eye].mean(0)).astype(int).tolist()
        cv2.circle(plain, centre, 5, (20, 20, 20, 255), -1)
    animator = MeshWarpAnimator(Rig(landmarks, (512, 512)))
    animator.set_image(plain)
    shut = {"eye_wink_left": 1, "eye_wink_right": 1}
    frame = render(animator, shut)
    points = animator.landmarks(pack(shut)[0])
    x, line = int(landmarks[36:42, 0].mean()), points[[40, 41], 1].mean()
    column = frame[:, x, :3].astype(int)
    lashes = column[int(line) - 2 : int(line) + 3]
    assert lashes.max(1).min() < 110
    above = column[int(line) - 14 : int(line) - 6]
    assert np.abs(above - [120, 150, 190]).max() < 45
    box = frame[195:225, 198:236, :3]
    assert (box.min(-1) > 225).sum() <= 3  # of the white of the eye, at the corners


def iris_centroid(image, box):
    patch = 255.0 - image[box][..., :3].mean(-1)
    weight = np.where(patch > 180, 1.0, 0.0)
    y, x = np.mgrid[: patch.shape[0], : patch.shape[1]]
    return (x * weight).sum() / weight.sum(), (y * weight).sum() / weight.sum()


def test_gaze_moves_both_irises_left_for_plus_y_and_up_for_plus_x(puppet, still):
    for box in (np.s_[200:218, 205:230], np.s_[200:218, 282:307]):
        rest = iris_centroid(still, box)
        turned = iris_centroid(render(puppet, {"iris_rotation_y": 1}), box)
        raised = iris_centroid(render(puppet, {"iris_rotation_x": 1}), box)
        assert turned[0] < rest[0] - 2
        assert abs(turned[1] - rest[1]) < 1
        assert raised[1] < rest[1] - 0.3


def test_supported_parameters_change_pixels_and_unsupported_ones_none(puppet, still):
    for name in POSE_NAMES:
        changed = (render(puppet, {name: 1}) != still).any(-1).sum()
        if puppet.supports(name):
            assert changed > 50, name
        else:
            assert changed == 0, name
    assert {n for n in POSE_NAMES if not puppet.supports(n)} == UNSUPPORTED


def test_eyes_closed_in_the_still_support_no_lids(landmarks):
    points = landmarks.copy()
    points[[40, 41]] = points[[38, 37]] + [0, 1]
    animator = MeshWarpAnimator(Rig(points, (512, 512)))
    assert not animator.supports("eye_wink_right")
    assert animator.supports("eye_wink_left")
    assert animator.supports("iris_rotation_x")


def test_an_unknown_parameter_is_refused(puppet):
    with pytest.raises(OptionError, match="winkk"):
        puppet.supports("winkk")


def test_nothing_folds_anywhere_in_the_range(puppet, landmarks):
    mouth = landmarks[[48, 54]]
    y, x = np.mgrid[40:470:3.0, 60:450:3.0]
    points = np.stack([x, y], -1)
    # The lips part along a cut: a cell across the cut has no derivative.
    off_cut = np.abs(y - mouth[0, 1]) > 6
    step = 1e-3
    for pose in random_poses(12):
        base = puppet.forward(points, pose)
        dx = (puppet.forward(points + np.array([step, 0]), pose) - base) / step
        dy = (puppet.forward(points + np.array([0, step]), pose) - base) / step
        det = dx[..., 0] * dy[..., 1] - dx[..., 1] * dy[..., 0]
        assert det[off_cut].min() > 0


def test_mirrored_still_and_mirrored_pose_give_the_mirrored_frame(landmarks, still):
    skewed = landmarks + np.random.default_rng(3).normal(0, 1.0, (68, 2))
    plain = MeshWarpAnimator(Rig(skewed, (512, 512)))
    plain.set_image(still)
    flipped = MeshWarpAnimator(Rig(mirror_landmarks(skewed, 512), (512, 512)))
    flipped.set_image(np.ascontiguousarray(still[:, ::-1]))
    for pose in random_poses(3, seed=5):
        one = render(plain, pose)
        two = render(flipped, mirror_poses(pose))[:, ::-1]
        difference = np.abs(one.astype(int) - two.astype(int)).max(-1)
        # OpenCV reads at 1/32 pixel, rounded one way: a mirrored edge may differ by a level.
        assert (difference > 1).mean() < 1e-3


def test_frames_agree_with_scipys_inverse_of_the_forward_map(puppet, still):
    """Independent oracle: move a fine grid forward, let scipy invert it, sample the still."""
    y, x = np.mgrid[0:512:2, 0:512:2] + 0.5
    rest = np.stack([x, y], -1)
    for pose in (
        pack({"head_y": 0.8, "head_x": -0.5, "neck_z": 0.4, "eyebrow_raised_left": 1})[0],
        pack({"eye_wink_right": 1, "mouth_raised_corner_left": 1, "body_z": 1, "breathing": 1})[0],
    ):
        moved = puppet.forward(rest, pose).reshape(-1, 2)
        back = LinearNDInterpolator(moved, rest.reshape(-1, 2))
        rows, columns = np.mgrid[100:400:2, 120:400:2] + 0.5
        source = back(np.stack([columns, rows], -1).reshape(-1, 2)).reshape(*rows.shape, 2)
        assert np.isfinite(source).all()
        positions = (source - 0.5).astype(np.float32)
        expected = cv2.remap(still, positions, None, cv2.INTER_LINEAR)
        frame = render(puppet, pose)[100:400:2, 120:400:2]
        difference = np.abs(frame.astype(int) - expected.astype(int)).max(-1)
        assert (difference <= 2).mean() > 0.99


def test_no_colour_of_invisible_pixels_bleeds_into_edges(rig):
    still = np.zeros((512, 512, 4), np.uint8)
    still[:] = (0, 255, 0, 0)
    still[60:420, 140:380] = (0, 0, 255, 255)
    animator = MeshWarpAnimator(rig)
    animator.set_image(still)
    frame = render(animator, {"head_y": 1, "neck_z": 1})
    assert (frame != still).any()
    seen = frame[..., 3] > 0
    assert ((frame[..., 3] > 0) & (frame[..., 3] < 255)).sum() > 100
    assert frame[seen][:, 1].max() == 0
    assert frame[seen][:, 2].min() == 255


@pytest.fixture(scope="module")
def half_pixel(puppet):
    return PoseQuantizer.from_bound(*puppet.displacement_px(), max_px=0.5)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_quantiser_with_a_bound_moves_no_pixel_further_than_it(puppet, half_pixel, seed):
    quantizer = half_pixel
    pose = np.random.default_rng(seed).uniform(LOW, HIGH).astype(np.float32)
    y, x = np.mgrid[60:440:8.0, 100:420:8.0]
    points = np.stack([x, y], -1)
    error = puppet.forward(points, quantizer(pose)) - puppet.forward(points, pose)
    assert np.linalg.norm(error, axis=-1).max() <= 0.5


def test_a_saved_rig_gives_the_same_bytes(rig, still, puppet, tmp_path):
    learned = Rig(rig.landmarks, rig.size_px, {"mouth_smirk": np.full((68, 2), 0.01)})
    learned.save(tmp_path / "rig.json")
    loaded = Rig.load(tmp_path / "rig.json")
    np.testing.assert_array_equal(loaded.landmarks, rig.landmarks)
    one, two = MeshWarpAnimator(learned), MeshWarpAnimator(loaded)
    assert one.fingerprint == two.fingerprint != puppet.fingerprint
    for animator in (one, two):
        animator.set_image(still)
    pose = {"mouth_smirk": 1, "head_y": 0.3}
    np.testing.assert_array_equal(render(one, pose), render(two, pose))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "not JSON"),
        ("{}", "schema"),
        ('{"schema": "featflow-rig-1", "size_px": [512, 512]}', "landmarks"),
        ('{"schema": "featflow-rig-1", "extra": 1}', "extra"),
    ],
)
def test_a_bad_rig_file_is_refused_by_name(text, match):
    with pytest.raises(FeatflowError, match=match):
        Rig.from_json(text, "my.json")


def test_bad_landmarks_are_refused(landmarks):
    with pytest.raises(ArrayError, match="image left"):
        Rig(mirror_landmarks(landmarks, 512)[np.arange(68)] * [-1, 1], (512, 512))
    with pytest.raises(ArrayError, match="68"):
        Rig(landmarks[:67], (512, 512))
    with pytest.raises(ArrayError, match="pixels apart"):
        Rig(landmarks / 10, (512, 512))
    with pytest.raises(ArrayError, match="no pose parameter"):
        Rig(landmarks, (512, 512), {"nose": np.zeros((68, 2))})


def test_rendering_before_an_image_is_an_error(rig):
    with pytest.raises(FeatflowError, match="set_image"):
        render(MeshWarpAnimator(rig), {})
