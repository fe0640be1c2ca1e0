import numpy as np
import pytest
import torch
from scipy import ndimage

from featflow.errors import OptionError
from featflow.train.losses import GMSD, SSIM, MultiScaleSSIM
from featflow.train.losses.structural import SCALE_WEIGHTS


def pair(size=32, seed=2, channels=3):
    rng = np.random.default_rng(seed)
    one = ndimage.gaussian_filter(rng.uniform(-1, 2, (2, channels, size, size)), (0, 0, 1, 1))
    other = one + rng.normal(0, 0.08, one.shape)
    return np.clip(one, 0, 1), np.clip(other, 0, 1)


def value(loss, *arrays):
    return loss(*(torch.from_numpy(a) for a in arrays)).numpy()


def blurred(array):
    """scipy's 11-wide Gaussian; its ``mirror`` is torch's ``reflect``."""
    return ndimage.gaussian_filter(array, (0, 0, 1.5, 1.5), mode="mirror", radius=(0, 0, 5, 5))


def terms(one, other):
    mean1, mean2 = blurred(one), blurred(other)
    var1, var2 = blurred(one**2) - mean1**2, blurred(other**2) - mean2**2
    cov = blurred(one * other) - mean1 * mean2
    luminance = (2 * mean1 * mean2 + 1e-4) / (mean1**2 + mean2**2 + 1e-4)
    return luminance, (2 * cov + 9e-4) / (var1 + var2 + 9e-4)


def halved(array):
    n, c, h, w = array.shape
    return array.reshape(n, c, h // 2, 2, w // 2, 2).mean((3, 5))


def test_ssim_is_wangs_formula():
    one, other = pair()
    luminance, contrast = terms(one, other)
    wanted = 1 - (luminance * contrast).mean((1, 2, 3))
    assert value(SSIM(), one, other) == pytest.approx(wanted, rel=1e-9)


def test_ssim_of_constants_is_the_luminance_term():
    one, other = np.full((1, 1, 16, 16), 0.25), np.full((1, 1, 16, 16), 0.5)
    wanted = 1 - (2 * 0.25 * 0.5 + 1e-4) / (0.25**2 + 0.5**2 + 1e-4)
    assert value(SSIM(), one, other)[0] == pytest.approx(wanted)


def test_ssim_of_a_negative_is_above_one():
    one, _ = pair()
    assert (value(SSIM(), one, 1 - one) > 1).all()


def test_masked_ssim_is_the_mean_of_the_map_over_the_mask():
    one, other = pair()
    rng = np.random.default_rng(0)
    mask = rng.uniform(0, 1, (2, 1, 32, 32))
    luminance, contrast = terms(one, other)
    errors = (1 - luminance * contrast).mean(1, keepdims=True)
    wanted = (errors * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3))
    assert value(SSIM(), one, other, mask) == pytest.approx(wanted)


@pytest.mark.parametrize("masked", [False, True])
def test_multi_scale_ssim_is_wangs_formula(masked):
    one, other = pair(96)
    rng = np.random.default_rng(0)
    mask = rng.uniform(0, 1, (2, 1, 96, 96)) if masked else np.ones((2, 1, 96, 96))
    given = (one, other, mask) if masked else (one, other)
    got = value(MultiScaleSSIM(), *given)
    wanted = np.ones((2, 3))
    for scale, weight in enumerate(SCALE_WEIGHTS):
        luminance, contrast = terms(one, other)
        part = luminance * contrast if scale == 4 else contrast
        mean = (part * mask).sum((2, 3)) / mask.sum((2, 3))
        wanted *= np.maximum(mean, 1e-6) ** weight
        one, other, mask = halved(one), halved(other), halved(mask)
    assert got == pytest.approx(1 - wanted.mean(1), rel=1e-9)


@pytest.mark.parametrize(("side", "count"), [(6, 1), (12, 2), (64, 4), (95, 4), (96, 5), (512, 5)])
def test_multi_scale_ssim_takes_as_many_scales_as_fit(side, count):
    loss = MultiScaleSSIM.fitting(side)
    assert len(loss.weights) == count
    assert sum(loss.weights) == pytest.approx(1, abs=1e-3)
    picture = torch.rand(1, 3, side, side)
    assert loss(picture, picture).item() == pytest.approx(0, abs=1e-6)


def test_multi_scale_ssim_of_less_than_a_window_is_refused():
    with pytest.raises(OptionError, match="6 pixels"):
        MultiScaleSSIM.fitting(5)


def gms(one, other, constant):
    def magnitude(array):
        kernel = np.array([[1, 0, -1]] * 3) / 3
        x = ndimage.correlate(array, kernel[None, None], mode="nearest")
        y = ndimage.correlate(array, kernel.T[None, None], mode="nearest")
        return np.hypot(x, y)

    g1, g2 = magnitude(halved(one)), magnitude(halved(other))
    return (2 * g1 * g2 + constant) / (g1**2 + g2**2 + constant)


def test_gmsd_is_xues_formula():
    one, other = pair()
    wanted = gms(one, other, 170 / 255**2).std((2, 3)).mean(1)
    assert value(GMSD(), one, other) == pytest.approx(wanted, rel=1e-5)


def test_masked_gmsd_is_the_deviation_within_the_mask():
    one, other = pair()
    mask = np.zeros((2, 1, 32, 32))
    mask[:, :, 4:20, 6:30] = 1
    inside = gms(one, other, 170 / 255**2)[:, :, 2:10, 3:15]
    wanted = inside.std((2, 3)).mean(1)
    assert value(GMSD(), one, other, mask) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("loss", [SSIM(), MultiScaleSSIM.fitting(12), GMSD()])
def test_gradients_are_right_to_the_last_digit(loss):
    one, other = (torch.from_numpy(x[:1, :1]) for x in pair(12))
    assert torch.autograd.gradcheck(loss, (one.requires_grad_(), other))
