import numpy as np
import pytest

from featflow.animate.cache import FrameCache
from featflow.animate.codecs import JpegCodec, RawCodec, RegionCodec
from featflow.animate.core import AnimationCore
from featflow.animate.interpolate import FlowInterpolator, PoseInterpolator
from featflow.animate.pose import INDEX, neutral, pack
from featflow.animate.puppet import MeshWarpAnimator
from featflow.animate.store import RamStore
from featflow.animate.upscale import LanczosUpscaler
from featflow.errors import ArrayError, FeatflowError


def make(rig, still, codec=None, limit=10**8, **options):
    cacher = FrameCache(RamStore(limit), codec) if codec else None
    core = AnimationCore(lambda _: MeshWarpAnimator(rig), cacher=cacher, **options)
    core.setImage(still)
    return core


POSES = [pack({"head_y": v / 10, "mouth_aaa": v / 10, "eye_wink_left": 1}) for v in range(5)]


def test_the_contract_of_the_returned_list(rig, still):
    ret = make(rig, still).inference(POSES[2])
    assert isinstance(ret, list)
    assert [f.shape for f in ret] == [(512, 512, 4)]
    assert ret[0].dtype == np.uint8
    assert ret[0].flags.writeable


def test_rest_is_the_still(rig, still):
    for codec in (None, RawCodec(), RegionCodec(), JpegCodec(10)):
        np.testing.assert_array_equal(make(rig, still, codec).inference(neutral())[0], still)


@pytest.mark.parametrize("interpolator", [PoseInterpolator, FlowInterpolator])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_interpolation_gives_scale_frames_the_real_one_last(rig, still, interpolator, scale):
    plain = make(rig, still)
    core = make(rig, still, interpolator=interpolator(scale))
    for pose in POSES[:3]:
        frames = core.inference(pose)
        assert len(frames) == scale
        np.testing.assert_array_equal(frames[-1], plain.inference(pose)[0])


def test_the_first_frames_lie_between_the_still_and_the_first_pose(rig, still):
    core = make(rig, still, interpolator=PoseInterpolator(2))
    middle = core.inference(pack({"head_y": 0.8}), copy=True)[0]
    exact = make(rig, still).inference(pack({"head_y": 0.4}))[0]
    np.testing.assert_array_equal(middle, exact)


def test_frames_between_run_from_the_last_pose_to_this_one(rig, still):
    core = make(rig, still, interpolator=PoseInterpolator(4))
    core.inference(pack({"head_y": 0.4}))
    frames = core.inference(pack({"head_y": 0.8}), copy=True)
    plain = make(rig, still)
    for frame, value in zip(frames, (0.5, 0.6, 0.7, 0.8), strict=True):
        np.testing.assert_array_equal(frame, plain.inference(pack({"head_y": value}))[0])


def test_buffers_are_reused_unless_copied(rig, still):
    core = make(rig, still, interpolator=PoseInterpolator(3))
    first = core.inference(POSES[1])
    second = core.inference(POSES[2])
    assert all(np.shares_memory(a, b) for a, b in zip(first, second, strict=True))
    assert not any(np.shares_memory(a, b) for a in second for b in second if a is not b)
    own = core.inference(POSES[3], copy=True)
    assert not any(np.shares_memory(a, b) for a in own for b in core.inference(POSES[4]))


@pytest.mark.parametrize("codec", [RawCodec(), RegionCodec(), JpegCodec(60)], ids=lambda c: c.name)
def test_a_hit_equals_its_miss_and_writing_into_it_harms_nobody(rig, still, codec):
    core = make(rig, still, codec)
    first = [core.inference(p, copy=True)[0] for p in POSES]
    for pose in POSES:
        core.inference(pose)[0][:] = 0
    again = [core.inference(p, copy=True)[0] for p in POSES]
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    stats = core.stats()
    assert (stats.inferences, stats.drawn) == (15, 5)
    assert (stats.cache.hits, stats.cache.misses) == (10, 5)


def test_another_still_never_shows_the_old_one(rig, still):
    core = make(rig, still, RegionCodec())
    core.inference(POSES[1])
    other = 255 - still
    other[..., 3] = 255
    core.set_image(other)
    fresh = make(rig, other)
    np.testing.assert_array_equal(core.inference(POSES[1])[0], fresh.inference(POSES[1])[0])
    assert core.stats().cache.hits == 0


def test_another_rig_on_one_cache_never_shows_the_old_one(rig, still, landmarks):
    from featflow.animate.rig import Rig

    cacher = FrameCache(RamStore(10**8))
    shifted = Rig(landmarks + 6, (512, 512))
    frames = []
    for each in (rig, shifted):
        core = AnimationCore(MeshWarpAnimator(each), cacher=cacher)
        core.set_image(still)
        frames.append(core.inference(POSES[2], copy=True)[0])
    assert cacher.stats().hits == 0
    assert (frames[0] != frames[1]).any()


def test_out_of_range_renders_as_clipped_and_strict_raises(rig, still):
    wild, edge = neutral(), neutral()
    wild[0, INDEX["head_y"]], edge[0, INDEX["head_y"]] = 7, 1
    core = make(rig, still)
    np.testing.assert_array_equal(core.inference(wild, copy=True)[0], core.inference(edge)[0])
    with pytest.raises(ArrayError, match="head_y is out of range"):
        make(rig, still, strict=True).inference(wild)


def test_upscaling_enlarges_every_frame(rig, still):
    core = make(rig, still, interpolator=PoseInterpolator(2), upscaler=LanczosUpscaler(2))
    frames = core.inference(POSES[3])
    assert [f.shape for f in frames] == [(1024, 1024, 4)] * 2
    small = make(rig, still).inference(POSES[3])[0]
    means = frames[-1].reshape(512, 2, 512, 2, 4).mean((1, 3))
    assert np.abs(means - small).mean() < 1.5


class Counting(MeshWarpAnimator):
    calls = 0

    def render(self, pose, out):
        type(self).calls += 1
        super().render(pose, out)


def test_a_table_of_poses_draws_each_distinct_one_once_and_in_order(rig, still):
    Counting.calls = 0
    core = AnimationCore(Counting(rig))
    core.set_image(still)
    rows = np.concatenate([POSES[i] for i in (0, 1, 2, 1, 0, 2, 3, 3)])
    frames = [f[0].copy() for f in core.render(rows)]
    assert Counting.calls == 4
    plain = make(rig, still)
    for row, frame in zip(rows, frames, strict=True):
        np.testing.assert_array_equal(frame, plain.inference(row[None])[0])


def test_in_betweens_are_never_cached_as_real_frames(rig, still):
    core = make(rig, still, RegionCodec(), interpolator=FlowInterpolator(2))
    core.inference(pack({"head_y": 0.8}))
    frame = core.inference(pack({"head_y": 0.4}))[-1]
    np.testing.assert_array_equal(frame, make(rig, still).inference(pack({"head_y": 0.4}))[0])


@pytest.mark.parametrize(
    ("image", "fix"),
    [
        (np.zeros((512, 512, 3), np.uint8), "COLOR_BGR2BGRA"),
        (np.zeros((512, 512, 4), np.float32), "np.uint8"),
        (np.zeros((256, 512, 4), np.uint8), "fit_still"),
        (None, "could not be read"),
        ("face.png", "pass a"),
    ],
)
def test_unusable_stills_are_refused_and_the_fix_named(rig, image, fix):
    core = AnimationCore(MeshWarpAnimator(rig))
    with pytest.raises(ArrayError, match=fix):
        core.setImage(image)


def test_poses_to_render_have_two_axes(rig, still):
    with pytest.raises(ArrayError, match=r"pose\[None\]"):
        list(make(rig, still).render(POSES[1][0]))


def test_inference_before_a_still_is_an_error(rig):
    with pytest.raises(FeatflowError, match="set_image"):
        AnimationCore(MeshWarpAnimator(rig)).inference(neutral())


def test_info_says_what_runs(rig, still):
    core = make(rig, still, RawCodec(), interpolator=FlowInterpolator(2))
    assert core.info["backend"] == "mesh-warp"
    assert core.info["interpolation"] == "flow"
    assert core.info["cacher"] == "raw"
    assert core.info["upscaling"] is None
