"""Working size."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from featflow.datasets.scaling import scale_between, working_size

SIDES = st.integers(1, 5000)


@given(SIDES, SIDES, st.integers(1, 5000))
def test_bound_holds_and_nothing_grows(height, width, bound):
    work = working_size((height, width), bound)
    assert max(work) <= max(bound, 1)
    assert 1 <= work[0] <= height
    assert 1 <= work[1] <= width
    assert max(work) >= min(bound, max(height, width)) - max(8, bound * 0.02)
    if max(height, width) <= bound:
        assert work == (height, width)


@given(st.integers(100, 5000), st.integers(100, 5000), st.integers(100, 2000))
def test_one_scale_fits_both_axes(height, width, bound):
    work = working_size((height, width), bound)
    scale = scale_between((height, width), work)
    assert abs(work[0] - height * scale) <= 0.5
    assert abs(work[1] - width * scale) <= 0.5


def test_common_sizes_are_exact():
    assert working_size((360, 640), 320) == (180, 320)
    assert working_size((1080, 1920), 640) == (360, 640)
    assert working_size((1920, 1080), 640) == (640, 360)
    assert working_size((360, 500), 230) == (162, 225)
    assert working_size((360, 640), None) == (360, 640)
