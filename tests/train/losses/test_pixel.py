import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, special

from featflow.errors import OptionError
from featflow.train.losses import GeneralRobust, GradientDifference, LInfinity, make_loss
from featflow.train.losses.pixel import learned_mask_loss


def pair(shape=(2, 3, 9, 12), seed=1):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 1, shape), rng.uniform(0, 1, shape)


def value(loss, one, other, *rest):
    return loss(torch.from_numpy(one), torch.from_numpy(other), *rest).numpy()


def test_plain_errors_are_their_formulas():
    one, other = pair()
    error = one - other
    axes = (1, 2, 3)
    assert value(make_loss("mae"), one, other) == pytest.approx(np.abs(error).mean(axes))
    assert value(make_loss("mse"), one, other) == pytest.approx((error**2).mean(axes))
    wanted = np.log(np.cosh(error)).mean(axes)
    assert value(make_loss("log_cosh"), one, other) == pytest.approx(wanted)
    # scipy's Huber loss is beta times smooth L1.
    wanted = special.huber(0.1, error).mean(axes) / 0.1
    assert value(make_loss("smooth_l1"), one, other) == pytest.approx(wanted)


def test_log_cosh_of_large_errors_does_not_overflow():
    big = torch.tensor([[[[1000.0]]]])
    assert make_loss("log_cosh")(big, 0 * big).item() == pytest.approx(1000 - math.log(2))


def barron(x, alpha, scale):
    """The paper's equations 8 and 13, in double precision."""
    square = (x / scale) ** 2
    if alpha == 2:
        return square / 2
    if alpha == 0:
        return np.log(square / 2 + 1)
    if alpha == -math.inf:
        return 1 - np.exp(-square / 2)
    away = abs(alpha - 2)
    return away / alpha * ((square / away + 1) ** (alpha / 2) - 1)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([-math.inf, -8.0, -2.0, -1.0, 0.0, 0.5, 1.0, 1.9999, 2.0, 3.0]),
    st.floats(0.01, 3),
    st.lists(st.floats(-4, 4), min_size=1, max_size=6),
)
def test_general_robust_is_the_papers_formula(alpha, scale, errors):
    errors = np.array(errors)
    got = GeneralRobust(alpha, scale).of_error(torch.from_numpy(errors)).numpy()
    assert got == pytest.approx(barron(errors, alpha, scale), rel=1e-7, abs=1e-9)


def test_general_robust_keeps_small_errors_in_single_precision():
    tiny = torch.tensor([1e-4])
    got = GeneralRobust(1.0, 1.0).of_error(tiny).item()
    assert got == pytest.approx(5e-9, rel=1e-4)


def test_general_robust_has_the_names_it_is_known_by():
    x = np.linspace(-2, 2, 9)
    charbonnier = GeneralRobust(1.0, 0.5).of_error(torch.from_numpy(x)).numpy()
    assert charbonnier == pytest.approx(np.sqrt((x / 0.5) ** 2 + 1) - 1)
    geman = GeneralRobust(-2.0, 0.5).of_error(torch.from_numpy(x)).numpy()
    assert geman == pytest.approx(2 * (x / 0.5) ** 2 / ((x / 0.5) ** 2 + 4))


def test_l_infinity_is_the_largest_error_of_each_channel():
    one = np.zeros((1, 3, 8, 8))
    one[0, 0, 3, 5], one[0, 2, 7, 0] = 0.3, -0.2
    assert value(LInfinity(), one, 0 * one)[0] == pytest.approx((0.3 + 0 + 0.2) / 3)
    noisy, other = pair()
    wanted = np.abs(noisy - other).reshape(2, 3, -1).max(-1).mean(-1)
    assert value(LInfinity(), noisy, other) == pytest.approx(wanted)


def test_l_infinity_scales_the_errors_of_a_region():
    one = torch.zeros(1, 3, 8, 8)
    one[..., 2, 2], one[..., 6, 6] = 0.2, 0.3
    region = torch.zeros(1, 1, 8, 8)
    region[..., :4, :4] = 1
    loss, zero = LInfinity(), torch.zeros_like(one)
    assert loss(one, zero, None, [(3.0, region)]).item() == pytest.approx(0.6)
    assert loss(one, zero, 1 - region, [(3.0, region)]).item() == pytest.approx(0.3)


def test_gradient_difference_is_built_from_scipys_derivatives():
    one, other = pair()
    error = one - other
    first, second = [-0.5, 0, 0.5], [1, -2, 1]

    def along(array, weights, axis):
        return ndimage.correlate1d(array, weights, axis=axis, mode="nearest")

    parts = [along(error, first, 3), along(error, first, 2)]
    parts += [along(error, second, 3), along(error, second, 2)]
    xy = along(along(error, first, 3), first, 2)
    for alpha in (2.0, 1.0):
        wanted = 0.5 * sum(barron(part, alpha, 1.0) for part in (*parts, xy, xy))
        got = value(GradientDifference(alpha), one, other)
        assert got == pytest.approx(wanted.mean((1, 2, 3)))


def test_gradient_difference_does_not_see_a_constant_offset():
    one, _ = pair()
    assert value(GradientDifference(), one, one + 0.3) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("name", ["mae", "mse", "smooth_l1", "log_cosh", "general_robust"])
def test_gradients_are_right_to_the_last_digit(name):
    one, other = (torch.from_numpy(x[:1, :, :3, :3]).requires_grad_() for x in pair())
    assert torch.autograd.gradcheck(make_loss(name), (one, other.detach()))


@pytest.mark.parametrize("name", ["gradient_difference", "l_infinity"])
def test_gradients_of_neighbourhoods_are_right(name):
    one, other = (torch.from_numpy(x[:1, :, :4, :4]).requires_grad_() for x in pair())
    assert torch.autograd.gradcheck(make_loss(name), (one, other.detach()))


def test_learned_masks():
    one, other = (torch.from_numpy(x) for x in pair((2, 1, 5, 5)))
    error = (one - other).numpy()
    assert learned_mask_loss("mae", one, other).numpy() == pytest.approx(
        np.abs(error).mean((1, 2, 3))
    )
    assert learned_mask_loss("mse", one, other).numpy() == pytest.approx((error**2).mean((1, 2, 3)))
    with pytest.raises(OptionError, match="mask loss"):
        learned_mask_loss("ssim", one, other)
