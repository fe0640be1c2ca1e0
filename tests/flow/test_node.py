import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from featflow.flow.node import InputSpec

CPU = torch.device("cpu")


def picture(shape=(2, 3, 5, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def expected(images, spec):
    """The contract, one pixel at a time in double precision."""
    out = np.zeros((len(images), 1 if spec.channels == "grey" else 3, *images.shape[1:3]))
    low, high = spec.value_range
    for n, y, x in np.ndindex(images.shape[:3]):
        red, green, blue = (float(v) for v in images[n, y, x])
        values = {
            "RGB": (red, green, blue),
            "BGR": (blue, green, red),
            "grey": (0.299 * red + 0.587 * green + 0.114 * blue,),
        }[spec.channels]
        for c, value in enumerate(values):
            mean, std = (v[c] if len(v) > 1 else v[0] for v in (spec.mean, spec.std))
            out[n, c, y, x] = (low + value / 255 * (high - low) - mean) / std
    return out


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize(
    "spec",
    [
        InputSpec(),
        InputSpec(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
        InputSpec(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        InputSpec(channels="BGR", value_range=(0, 255), mean=(104.0, 117.0, 123.0)),
        InputSpec(channels="BGR", value_range=(-1, 1)),
        InputSpec(channels="grey", value_range=(-1, 1), mean=(0.1,), std=(0.5,)),
    ],
)
def test_prepare_is_the_contract(spec, last):
    spec = InputSpec(None, spec.channels, spec.value_range, spec.mean, spec.std, last)
    images = picture()
    got = spec.prepare(images, CPU)
    assert got.dtype == torch.float32
    wanted = expected(images, spec)
    assert np.allclose(got.numpy(), wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


def test_red_is_first_unless_the_network_wants_blue():
    red = np.zeros((1, 1, 1, 3), np.uint8)
    red[..., 0] = 255
    assert InputSpec().prepare(red, CPU).flatten().tolist() == [1, 0, 0]
    assert InputSpec(channels="BGR").prepare(red, CPU).flatten().tolist() == [0, 0, 1]
    grey = InputSpec(channels="grey").prepare(red, CPU)
    assert grey.flatten().tolist() == pytest.approx([0.299])


@pytest.mark.parametrize("channels", ["RGB", "BGR", "grey"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_prepare_leaves_its_input_alone(channels, dtype):
    images = picture().astype(dtype)
    before = images.copy()
    spec = InputSpec(channels=channels, mean=(0.5,), std=(0.25,))
    first = spec.prepare(images, CPU)
    assert np.array_equal(images, before)
    assert torch.equal(first, spec.prepare(images, CPU))


@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))
def test_layout(count, height, width):
    images = picture((count, height, width, 3))
    for last in (True, False):
        tensor = InputSpec(channels_last=last).prepare(images, CPU)
        assert tensor.shape == (count, 3, height, width)
        layout = torch.channels_last if last else torch.contiguous_format
        assert tensor.is_contiguous(memory_format=layout)


def test_no_pictures_give_an_empty_tensor():
    assert InputSpec().prepare(np.zeros((0, 4, 6, 3), np.uint8), CPU).shape == (0, 3, 4, 6)


def test_views_of_larger_pictures_are_read_right():
    whole = picture((4, 8, 10, 3))
    part = whole[::2, 1:7:2, ::-1]
    wanted = InputSpec().prepare(part.copy(), CPU)
    assert torch.equal(InputSpec().prepare(part, CPU), wanted)
