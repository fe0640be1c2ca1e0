import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from featflow.animate.interpolate import FlowInterpolator, PoseInterpolator, Step
from featflow.animate.pose import pack
from featflow.errors import OptionError


def square(x, y=220, side=64, seed=0):
    """A textured square whose left edge lies at x, on transparency."""
    rng = np.random.default_rng(seed)
    texture = np.stack([gaussian_filter(rng.uniform(0, 255, (side, side)), 2) for _ in range(3)], 2)
    texture = (texture - texture.min()) / np.ptp(texture) * 200 + 40
    image = np.zeros((512, 512, 4), np.uint8)
    image[y : y + side, x : x + side, :3] = texture
    image[y : y + side, x : x + side, 3] = 255
    return image


def step(before, now):
    rest = np.zeros(45, np.float32)
    return Step(rest, rest, before, now, lambda pose, out: None)


def flow_between(before, now, scale):
    outs = [np.empty_like(before) for _ in range(scale - 1)]
    FlowInterpolator(scale).between(step(before, now), outs)
    return outs


def premultiplied(image):
    image = image.astype(float)
    return np.concatenate([image[..., :3] * image[..., 3:] / 255, image[..., 3:]], -1)


@pytest.mark.parametrize(("distance", "scale"), [(4, 2), (12, 3), (32, 2), (48, 3), (64, 4)])
def test_a_moved_square_stands_where_it_should_and_is_one_square(distance, scale):
    """A cross-fade has the right centroid too, so extent and values are what is checked."""
    before, now = square(150), square(150 + distance)
    for i, frame in enumerate(flow_between(before, now, scale), 1):
        truth = square(150 + distance * i // scale)
        columns = np.flatnonzero((frame[240:270, :, 3] > 127).mean(0) > 0.5)
        assert columns[0] == pytest.approx(150 + distance * i / scale, abs=1)
        assert columns[-1] == pytest.approx(150 + distance * i / scale + 63, abs=1)
        fade = premultiplied(before) * (1 - i / scale) + premultiplied(now) * i / scale
        error = np.abs(premultiplied(frame) - premultiplied(truth)).mean()
        assert error <= 0.1 * np.abs(fade - premultiplied(truth)).mean()


def test_a_static_pair_stays_as_it_is():
    frame = square(200)
    for out in flow_between(frame, frame.copy(), 3):
        np.testing.assert_array_equal(out, frame)


def test_the_time_runs_from_the_first_to_the_second_frame():
    first, second, third = flow_between(square(100), square(140), 4)
    left = [np.flatnonzero(f[250, :, 3] > 127)[0] for f in (first, second, third)]
    assert left == pytest.approx([110, 120, 130], abs=1)


def test_pose_interpolation_draws_the_mean_poses_exactly():
    before, now = pack({"head_y": 0.2})[0], pack({"head_y": 0.8, "mouth_aaa": 0.6})[0]
    drawn = []
    still = np.zeros((16, 16, 4), np.uint8)
    steps = Step(before, now, still, still, lambda pose, out: drawn.append(pose.copy()))
    PoseInterpolator(3).between(steps, [still.copy(), still.copy()])
    np.testing.assert_allclose(drawn, [before * 2 / 3 + now / 3, before / 3 + now * 2 / 3])


@pytest.mark.parametrize("scale", [5, 1, 0, 2.5, True, "2"])
@pytest.mark.parametrize("kind", [PoseInterpolator, FlowInterpolator])
def test_other_scales_are_refused(kind, scale):
    with pytest.raises(OptionError, match="2, 3 or 4"):
        kind(scale)
