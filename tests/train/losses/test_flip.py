"""FLIP against a numpy and scipy version of the paper, in 2-D kernels, and NVIDIA's figures."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from featflow.errors import ArrayError
from featflow.train.losses import FLIP

M = np.array(
    [
        [0.41239079926595934, 0.357584339383878, 0.1804807884018343],
        [0.21263900587151027, 0.715168678767756, 0.07219231536073371],
        [0.01933081871559182, 0.11919477979462598, 0.9505321522496607],
    ]
)
WHITE = M.sum(1)


def pair(size=48):
    rng = np.random.default_rng(7)
    one = ndimage.gaussian_filter(rng.uniform(-1, 2, (size, size, 3)), (2, 2, 0))
    other = one + rng.normal(0, 0.05, one.shape)
    return np.clip(one, 0, 1), np.clip(other, 0, 1)


def flip(one, other, **options):
    tensors = [torch.from_numpy(x.transpose(2, 0, 1)[None].copy()) for x in (one, other)]
    return FLIP(**options).error_map(*tensors)[0, 0].numpy()


def linear(rgb):
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def hunt_lab(light):
    xyz = light @ M.T / WHITE
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * 841 / 108 + 4 / 29)
    lightness = 116 * f[..., 1] - 16
    a, b = 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])
    return np.stack([lightness, 0.01 * lightness * a, 0.01 * lightness * b], -1)


def opponent(rgb):
    x, y, z = np.moveaxis(linear(rgb) @ M.T / WHITE, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def seen(rgb, ppd):
    radius = math.ceil(3 * math.sqrt(0.04 / (2 * math.pi**2)) * ppd)
    grid = np.arange(-radius, radius + 1) / ppd
    square = grid[:, None] ** 2 + grid**2
    planes = opponent(rgb)
    out = np.empty_like(planes)
    for channel, pairs in enumerate([[(1, 0.0047)], [(1, 0.0053)], [(34.1, 0.04), (13.5, 0.025)]]):
        kernel = sum(a * np.sqrt(np.pi / b) * np.exp(-(np.pi**2) * square / b) for a, b in pairs)
        out[..., channel] = ndimage.correlate(
            planes[..., channel], kernel / kernel.sum(), mode="nearest"
        )
    y = (out[..., 0] + 16) / 116
    xyz = np.stack([y + out[..., 1] / 500, y, y - out[..., 2] / 200], -1) * WHITE
    return hunt_lab(np.clip(xyz @ np.linalg.inv(M).T, 0, 1))


def hyab(one, other):
    d = one - other
    return np.abs(d[..., 0]) + np.hypot(d[..., 1], d[..., 2])


def detected(rgb, ppd):
    lightness = (opponent(rgb)[..., 0] + 16) / 116
    sigma = 0.5 * 0.082 * ppd
    radius = math.ceil(3 * sigma)
    x = np.arange(-radius, radius + 1)
    bell = np.exp(-(x[:, None] ** 2 + x**2) / (2 * sigma**2))
    found = []
    for kernel in (-x * bell, (x**2 / sigma**2 - 1) * bell):
        kernel = np.where(kernel > 0, kernel / kernel[kernel > 0].sum(), kernel)
        kernel = np.where(kernel < 0, -kernel / kernel[kernel < 0].sum(), kernel)
        sides = [ndimage.correlate(lightness, k, mode="nearest") for k in (kernel, kernel.T)]
        found.append(np.hypot(*sides))
    return np.stack(found)


def paper(one, other, ppd):
    green, blue = np.eye(3)[1], np.eye(3)[2]
    largest = hyab(hunt_lab(green), hunt_lab(blue)) ** 0.7
    error = hyab(seen(one, ppd), seen(other, ppd)) ** 0.7
    knee = 0.4 * largest
    above = 0.95 + (error - knee) / (largest - knee) * 0.05
    colour = np.where(error < knee, 0.95 / knee * error, above)
    feature = np.abs(detected(one, ppd) - detected(other, ppd)).max(0) / math.sqrt(2)
    return colour ** (1 - feature**0.5)


@pytest.mark.parametrize("ppd", [67.0, 30.0])
def test_flip_is_the_paper(ppd):
    one, other = pair()
    assert flip(one, other, pixels_per_degree=ppd) == pytest.approx(
        paper(one, other, ppd), abs=1e-4
    )


def test_green_against_blue_is_the_largest_difference_there_is():
    green, blue = np.zeros((8, 8, 3)), np.zeros((8, 8, 3))
    green[..., 1], blue[..., 2] = 1, 1
    assert flip(green, blue) == pytest.approx(1, abs=1e-6)
    white, black = np.ones((8, 8, 3)), np.zeros((8, 8, 3))
    assert 0.9 < flip(white, black).mean() < 1


def test_flip_gives_nvidias_figure():
    # flip-evaluator 1.7 (NVIDIA, BSD) gives this mean for the same pair of float32 pictures
    # at its default 67.02 pixels per degree.
    one, other = (x.astype(np.float32) for x in pair(64))
    assert flip(one, other, pixels_per_degree=67.020645).mean() == pytest.approx(0.107786, abs=1e-5)


def test_values_beyond_the_range_are_clipped_and_grey_is_refused():
    one, other = pair()
    assert flip(one * 2 - 0.5, other) == pytest.approx(flip(np.clip(one * 2 - 0.5, 0, 1), other))
    with pytest.raises(ArrayError, match="RGB"):
        FLIP()(torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8))
