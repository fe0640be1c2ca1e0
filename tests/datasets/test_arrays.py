"""Frames in memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from featflow.datasets import Frame, open_source
from featflow.errors import ArrayError, OptionError

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
STACK = RNG.integers(0, 256, (4, 20, 30, 3), dtype=np.uint8)


def only(value, **options):
    (frame,) = open_source(value, **options)
    return frame


def test_numpy_rgb_keeps_its_order():
    frame = only(PICTURE)
    assert np.array_equal(frame.image, PICTURE)
    assert (frame.source, frame.index, frame.size_px, frame.scale) == ("array:0", 0, (20, 30), 1.0)
    assert np.isnan(frame.time_s)


def test_numpy_grey_and_stack():
    assert np.array_equal(only(PICTURE[..., 0]).image, np.repeat(PICTURE[..., :1], 3, 2))
    frames = list(open_source(STACK))
    assert [f.index for f in frames] == [0, 1, 2, 3]
    assert all(np.array_equal(f.image, picture) for f, picture in zip(frames, STACK, strict=True))
    assert {f.source for f in frames} == {"array:0"}


def test_torch_has_channels_first():
    tensor = torch.from_numpy(PICTURE).permute(2, 0, 1)
    assert np.array_equal(only(tensor).image, PICTURE)
    frames = list(open_source(torch.from_numpy(STACK).permute(0, 3, 1, 2)))
    assert np.array_equal(np.stack([f.image for f in frames]), STACK)
    assert np.array_equal(only(tensor[:1]).image, np.repeat(PICTURE[..., :1], 3, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_torch_floats(dtype):
    tensor = (torch.from_numpy(PICTURE).permute(2, 0, 1) / 255).to(dtype).requires_grad_()
    tolerance = {torch.float16: 0, torch.bfloat16: 1}.get(dtype, 0)
    assert np.abs(only(tensor).image.astype(int) - PICTURE).max() <= tolerance


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_floats_and_bytes_agree(picture):
    assert np.array_equal(only(picture / 255.0).image, only(picture).image)
    assert np.array_equal(only(torch.from_numpy(picture).permute(2, 0, 1)).image, picture)


def test_one_pixel():
    assert only(np.full((1, 1, 3), 7, np.uint8)).image.tolist() == [[[7, 7, 7]]]
    assert only(torch.zeros(3, 1, 1)).image.shape == (1, 1, 3)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.full((4, 4, 3), np.nan), "NaN"),
        (torch.full((3, 4, 4), torch.inf), "infinite"),
        (np.full((4, 4, 3), 1.2), "clip or rescale"),
        (np.full((4, 4, 3), -0.1), "0..1"),
        (np.full((4, 4, 3), 200.0), "divide by 255"),
        (np.zeros((4, 4, 3), np.int64), "int64"),
        (np.zeros((4, 4, 3), np.uint16), "uint16"),
        (np.zeros((4, 4, 3), bool), "bool"),
        (np.full((4, 4, 3), None), "object"),
        (np.zeros((4, 4, 3), complex), "complex"),
        (torch.zeros(3, 4, 4, dtype=torch.complex64), "complex64"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (np.zeros((0, 4, 4, 3), np.uint8), "no pixels"),
        (torch.zeros(3, 4, 0), "no pixels"),
        (np.zeros((4, 4, 4), np.uint8), "(H, W, 3)"),
        (np.zeros((3, 40, 50), np.uint8), "(H, W, 3)"),
        (torch.zeros(40, 50, 3), "(3, H, W)"),
        (np.zeros(5, np.uint8), "(5,)"),
        (np.zeros((1, 1, 4, 4, 3), np.uint8), "shape"),
        (np.ones((), np.uint8), "shape"),
    ],
)
def test_unusable(value, message):
    frame = only(value)
    assert isinstance(frame.error, ArrayError)
    assert message in str(frame.error)
    assert str(frame.error).startswith("array:0: ")


def test_one_bad_picture_of_a_stack_does_not_cost_the_others():
    stack = STACK / 255.0
    stack[2, 3, 4, 0] = np.nan
    frames = list(open_source(stack))
    assert [f.error is None for f in frames] == [True, True, False, True]
    assert [f.index for f in frames] == [0, 1, 2, 3]


def test_output_size():
    ramp = np.repeat(np.arange(0, 240, dtype=np.uint8)[None, :, None], 120, 0).repeat(3, 2)
    frame = only(ramp, output_size=60)
    assert (frame.image.shape, frame.size_px, frame.scale) == ((30, 60, 3), (120, 240), 0.25)
    assert np.abs(frame.image[5, :, 0] - (np.arange(60) * 4 + 1.5)).max() <= 0.5
    assert only(ramp, output_size=1000).image.shape == (120, 240, 3)


def test_frames_pass_through():
    frame = Frame(PICTURE, "camera", 7, 0.25, (20, 30))
    assert list(open_source([frame])) == [frame]
    assert open_source([frame]).names == ["camera"]


@pytest.mark.parametrize("value", [3, None, {"a": 1}, b"bytes", object()])
def test_no_inputs(value):
    with pytest.raises(OptionError, match="no input"):
        open_source(value)
