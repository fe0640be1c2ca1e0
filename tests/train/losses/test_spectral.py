import numpy as np
import pytest
import torch
from scipy import fft, ndimage

from featflow.train.losses import FocalFrequency, LaplacianPyramid


def pair(size=32, seed=3):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 1, (2, 3, size, size)), rng.uniform(0, 1, (2, 3, size, size))


def value(loss, *arrays):
    return loss(*(torch.from_numpy(a) for a in arrays)).numpy()


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_focal_frequency_is_jiangs_formula(alpha):
    one, other = pair()
    distance = np.abs(fft.fft2(one, norm="ortho") - fft.fft2(other, norm="ortho"))
    weight = distance**alpha
    weight /= weight.max((2, 3), keepdims=True)
    wanted = (weight * distance**2).mean((1, 2, 3))
    assert value(FocalFrequency(alpha), one, other) == pytest.approx(wanted)


def test_without_focus_it_is_the_squared_error_with_and_without_a_mask():
    one, other = pair()
    squared = (one - other) ** 2
    assert value(FocalFrequency(0.0), one, other) == pytest.approx(squared.mean((1, 2, 3)))
    mask = np.zeros((2, 1, 32, 32))
    mask[:, :, 3:14, 9:30] = 1
    wanted = squared[:, :, 3:14, 9:30].mean((1, 2, 3))
    assert value(FocalFrequency(0.0), one, other, mask) == pytest.approx(wanted)


def test_the_weights_of_frequencies_carry_no_gradient():
    one, other = (torch.from_numpy(x[:1, :1]) for x in pair(8))
    one.requires_grad_()
    FocalFrequency()(one, other).sum().backward()
    spectrum = np.fft.fft2((one - other).detach().numpy(), norm="ortho")
    weight = np.abs(spectrum) / np.abs(spectrum).max()
    wanted = np.fft.ifft2(2 * weight * spectrum, norm="ortho").real / 64
    assert one.grad.numpy() == pytest.approx(wanted, abs=1e-12)


def test_the_pyramid_is_built_from_scipys_gaussian():
    one, other = pair(64)

    def levels(array):
        found = []
        for _ in range(5):
            low = ndimage.gaussian_filter(array, (0, 0, 1, 1), mode="nearest", radius=(0, 0, 2, 2))
            found.append(array - low)
            n, c, h, w = low.shape
            array = low.reshape(n, c, h // 2, 2, w // 2, 2).mean((3, 5))
        return [*found, array]

    pairs = zip(levels(one), levels(other), strict=True)
    wanted = sum(np.abs(a - b).mean((1, 2, 3)) for a, b in pairs)
    assert value(LaplacianPyramid(), one, other) == pytest.approx(wanted)


def test_the_pyramid_sees_a_constant_offset_in_its_rest_only():
    one, _ = pair(64)
    assert value(LaplacianPyramid(), one, one + 0.25) == pytest.approx(0.25)


def test_an_odd_side_loses_no_pixel():
    zero = torch.zeros(1, 1, 37, 45, dtype=torch.float64)
    for corner in ((0, 0), (36, 44), (0, 44), (36, 0)):
        spot = zero.clone()
        spot[0, 0, corner[0], corner[1]] = 1
        assert LaplacianPyramid()(spot, zero).item() > 1e-4
    assert LaplacianPyramid()(zero + 0.25, zero).item() == pytest.approx(0.25)


@pytest.mark.parametrize("loss", [FocalFrequency(0.0), LaplacianPyramid(2)])
def test_gradients_are_right_to_the_last_digit(loss):
    one, other = (torch.from_numpy(x[:1, :1]) for x in pair(5))
    assert torch.autograd.gradcheck(loss, (one.requires_grad_(), other))
