import numpy as np
import pytest

from featflow.animate.filters import OneEuro, smooth
from featflow.animate.idle import BLINK_S, Blinks, breath, idle_pose
from featflow.animate.pacing import Pacer, play_live
from featflow.animate.pose import unpack
from featflow.errors import OptionError


def test_a_constant_stays_constant():
    times = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.1, 50))
    np.testing.assert_allclose(smooth(np.full((50, 3), 0.7), times), 0.7)


def test_jitter_falls_at_least_fivefold_and_a_step_arrives_within_three_frames():
    rng = np.random.default_rng(1)
    times = np.arange(400) / 30
    jitter = rng.normal(0, 0.005, (400, 1))
    assert jitter.var() >= 5 * smooth(jitter, times, min_cutoff_hz=1.0, beta=5.0)[50:].var()
    step = np.where(times > 5, 1.0, 0.0)[:, None]
    after = smooth(step, times, min_cutoff_hz=1.0, beta=5.0)[:, 0]
    first = np.flatnonzero(step[:, 0])[0]
    assert after[first + 3] > 0.5


def test_the_filter_goes_by_seconds_not_by_frames():
    """One frame after a long pause weighs more than one after a short pause."""
    slow, quick = OneEuro(1.0, 0.0), OneEuro(1.0, 0.0)
    for each in (slow, quick):
        each(np.zeros(1), 0.0)
    far, near = slow(np.ones(1), 1.0)[0], quick(np.ones(1), 0.01)[0]
    rate = 2 * np.pi
    assert far == pytest.approx(rate / (rate + 1))
    assert near == pytest.approx(0.01 * rate / (0.01 * rate + 1))


def test_nan_keeps_the_last_value_and_time_may_not_run_backwards():
    one_euro = OneEuro()
    one_euro(np.array([1.0]), 0.0)
    assert one_euro(np.array([np.nan]), 0.1) == pytest.approx(1.0)
    with pytest.raises(OptionError, match="backwards"):
        one_euro(np.array([1.0]), 0.05)


def test_breath_is_empty_at_the_start_full_in_the_middle_and_periodic():
    np.testing.assert_allclose(breath([0, 1, 2, 3, 4], 4.0), [0, 0.5, 1, 0.5, 0], atol=1e-12)


def test_every_period_has_one_blink_of_a_quarter_of_a_second():
    blinks = Blinks(period_s=5, seed=3)
    times = np.arange(0, 50, 0.005)
    closed = np.array([blinks(t) for t in times])
    assert closed.max() == pytest.approx(1, abs=0.01)
    begins = np.flatnonzero((closed[1:] > 0) & (closed[:-1] == 0))
    assert len(begins) == 10
    assert (closed > 0).sum() * 0.005 == pytest.approx(10 * BLINK_S, rel=0.05)
    np.testing.assert_allclose(times[begins], blinks.starts(0, 10), atol=0.01)


def test_blinks_depend_on_the_seed_alone():
    one, two = Blinks(seed=1), Blinks(seed=1)
    asked = [one(t) for t in (30.0, 2.0, 17.3)]
    assert asked == [two(t) for t in (30.0, 2.0, 17.3)]
    assert (Blinks(seed=1).starts(0, 5) != Blinks(seed=2).starts(0, 5)).all()


def test_an_idle_pose_blinks_with_both_eyes_and_breathes():
    blinks = Blinks(seed=0)
    pose = unpack(idle_pose(blinks.starts(0, 1)[0] + BLINK_S / 2, blinks))
    assert pose["eye_wink_left"] == pose["eye_wink_right"] == pytest.approx(1)
    assert pose["breathing"] > 0
    assert sum(v != 0 for v in pose.values()) == 3


class Time:
    """A clock that only sleeping (and jitter) moves."""

    def __init__(self):
        self.now = 100.0

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def test_moments_are_evenly_spaced_and_do_not_drift():
    time, rng = Time(), np.random.default_rng(0)
    pacer = Pacer(30, time.clock, time.sleep)
    moments = []
    for _ in range(1000):
        pacer.wait()
        moments.append(time.now)
        time.now += rng.uniform(0, 0.03)  # work that takes its time
    np.testing.assert_allclose(moments, 100 + np.arange(1000) / 30, atol=1e-9)
    assert pacer.skipped == 0


def test_after_a_long_delay_moments_are_skipped_not_hurried():
    time = Time()
    pacer = Pacer(10, time.clock, time.sleep)
    pacer.wait()
    time.now += 1.05
    assert pacer.wait() == pytest.approx(1.0)
    assert pacer.skipped == 9
    assert pacer.wait() == pytest.approx(1.1)
    assert time.now == pytest.approx(101.1)


def test_a_live_loop_shows_every_frame_at_its_moment():
    class Core:
        def inference(self, pose):
            return [pose, pose + 1]

    time, shown = Time(), []
    show = lambda frame: shown.append((time.now, frame))  # noqa: E731
    assert play_live(Core(), [0, 10, 20], show, Pacer(4, time.clock, time.sleep)) == 6
    assert [f for _, f in shown] == [0, 1, 10, 11, 20, 21]
    np.testing.assert_allclose([t for t, _ in shown], 100 + np.arange(6) / 4)
