"""What holds for every loss of pictures."""

import numpy as np
import pytest
import torch

from featflow.errors import ArrayError, OptionError
from featflow.train.losses import IMAGE_LOSSES, MultiScaleSSIM, make_loss

NAMES = [name for name in IMAGE_LOSSES if not name.startswith("lpips")]
CHANNEL_BLIND = [name for name in NAMES if name != "flip"]
SIZE = 48


def made(name):
    if name == "ms_ssim":
        return MultiScaleSSIM.fitting(SIZE)
    # Five levels would blur a picture of this size into a few pixels.
    return make_loss(name, **({"levels": 2} if name == "laplacian_pyramid" else {}))


def pictures(count=2, size=SIZE, seed=0):
    """Smooth pictures with some noise, and others near them."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0.1, 0.9, (count, 3, 6, 6)))
    one = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 1)
    one = (one + 0.05 * torch.from_numpy(rng.standard_normal(one.shape))).clamp(0, 1)
    other = (one + 0.1 * torch.from_numpy(rng.standard_normal(one.shape))).clamp(0, 1)
    return one, other


@pytest.fixture(scope="module", params=NAMES)
def named(request):
    return request.param, made(request.param)


def test_equal_pictures_cost_nothing(named):
    one, _ = pictures()
    for picture in (one, torch.zeros_like(one), torch.ones_like(one)):
        value = named[1](picture, picture.clone())
        assert value.shape == (2,)
        assert value.abs().max() < 1e-12
        single = named[1](picture.float(), picture.float())
        assert single.abs().max() < 1e-6


def test_different_pictures_cost_something_and_more_when_further_off(named):
    one, other = pictures()
    near = named[1](one, one + 0.2 * (other - one))
    far = named[1](one, other)
    assert (near > 1e-6).all()
    assert (far > near).all()


def test_the_order_of_the_pictures_does_not_matter(named):
    one, other = pictures()
    assert torch.allclose(named[1](one, other), named[1](other, one), rtol=1e-9, atol=1e-12)


def test_rows_and_columns_are_treated_alike(named):
    one, other = pictures()
    turned = named[1](one.mT.contiguous(), other.mT.contiguous())
    assert torch.allclose(named[1](one, other), turned, rtol=1e-6)


def test_stripes_cost_the_same_whichever_way_they_run_and_in_any_channel(named):
    grey = torch.full((1, 3, SIZE, SIZE), 0.5, dtype=torch.float64)
    stripe = 0.3 * torch.sin(torch.arange(SIZE, dtype=torch.float64) * 0.7)
    down, across = grey + stripe[:, None], grey + stripe
    assert named[1](down, grey) > 1e-4
    assert torch.allclose(named[1](down, grey), named[1](across, grey), rtol=1e-6)
    for channel in range(3):
        along_y, along_x = grey.clone(), grey.clone()
        along_y[:, channel] += stripe[:, None]
        along_x[:, channel] += stripe
        assert named[1](along_y, grey) > 1e-5, channel
        assert torch.allclose(named[1](along_y, grey), named[1](along_x, grey), rtol=1e-6)


@pytest.mark.parametrize("name", CHANNEL_BLIND)
def test_channels_may_change_places(name):
    one, other = pictures()
    loss, order = made(name), [2, 0, 1]
    assert torch.allclose(loss(one[:, order], other[:, order]), loss(one, other), rtol=1e-9)


def test_flip_knows_red_from_blue():
    one, other = pictures()
    changed = make_loss("flip")(one[:, [2, 1, 0]], other[:, [2, 1, 0]])
    assert (changed - make_loss("flip")(one, other)).abs().min() > 1e-4


def test_a_row_of_a_batch_is_alone(named):
    one, other = pictures()
    both = named[1](one, other)
    for row in range(2):
        alone = named[1](one[row : row + 1], other[row : row + 1])
        assert torch.allclose(both[row], alone[0], rtol=1e-9)


def test_gradients_are_finite_and_point_uphill(named):
    name, loss = named
    one, other = pictures(1)
    for start in (other, one.clone(), torch.zeros_like(one), torch.full_like(one, 0.5)):
        moved = start.clone().requires_grad_()
        loss(moved, one).sum().backward()
        assert torch.isfinite(moved.grad).all(), name
    # Away from 0 and 1, where FLIP clips.
    one, other = 0.1 + 0.8 * one, 0.1 + 0.8 * other
    moved = other.clone().requires_grad_()
    before = loss(moved, one)
    before.sum().backward()
    step = 1e-5 * moved.grad / moved.grad.norm()
    with torch.no_grad():
        slope = (loss(other + step, one) - loss(other - step, one)) / 2e-5
    if name != "focal_frequency":  # its weights carry no gradient on purpose
        assert slope.item() == pytest.approx(moved.grad.norm().item(), rel=2e-3)


def test_a_mask_of_ones_changes_nothing(named):
    one, other = pictures()
    mask = torch.ones_like(one[:, :1])
    assert torch.allclose(named[1](one, other, mask), named[1](one, other), rtol=1e-9)


def test_what_lies_outside_the_mask_does_not_count(named):
    one, _ = pictures()
    mask = torch.zeros_like(one[:, :1])
    mask[:, :, :, : SIZE // 2] = 1
    other = one.clone()
    other[:, :, :, SIZE // 2 + 12 :] *= 0.5
    value = named[1](other, one, mask)
    # A window (or a level of a pyramid) still looks a little beyond the mask's edge.
    reach = 0.15 if named[0] in ("ms_ssim", "laplacian_pyramid") else 1e-6
    assert (value <= reach * named[1](other, one)).all()


def test_an_empty_mask_costs_nothing_and_has_a_finite_gradient(named):
    one, other = pictures()
    mask = torch.zeros_like(one[:, :1])
    mask[1] = 1
    moved = other.clone().requires_grad_()
    value = named[1](moved, one, mask)
    value.sum().backward()
    assert value[0].item() == 0
    assert value[1].item() > 0
    assert torch.isfinite(moved.grad).all()
    assert moved.grad[0].abs().max() == 0


def test_bad_pictures_are_refused(named):
    one, other = pictures(1)
    with pytest.raises(ArrayError, match="one \\(N, C, H, W\\)"):
        named[1](one, other[:, :, 1:])
    with pytest.raises(ArrayError, match="floats"):
        named[1]((255 * one).byte(), (255 * other).byte())
    with pytest.raises(ArrayError, match="mask"):
        named[1](one, other, torch.ones(1, SIZE, SIZE))


@pytest.mark.parametrize("name", ["ssim", "ms_ssim", "gmsd", "laplacian_pyramid"])
def test_pictures_that_are_too_small_are_refused(name):
    loss = make_loss(name)
    fits, small = (torch.rand(1, 3, s, s) for s in (loss.smallest, loss.smallest - 1))
    assert torch.isfinite(loss(fits, fits)).all()
    with pytest.raises(ArrayError, match="pixels or more a side"):
        loss(small, small)


def test_unknown_names_and_options_are_refused():
    with pytest.raises(OptionError, match="known losses: mae"):
        make_loss("ssmi")
    with pytest.raises(OptionError, match="alhpa"):
        make_loss("general_robust", alhpa=1.0)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("smooth_l1", {"beta": 0}),
        ("general_robust", {"scale": 0}),
        ("general_robust", {"alpha": float("nan")}),
        ("ms_ssim", {"weights": ()}),
        ("gmsd", {"constant": 0}),
        ("laplacian_pyramid", {"levels": 0}),
        ("focal_frequency", {"alpha": -1}),
        ("flip", {"pixels_per_degree": 0}),
    ],
)
def test_unusable_options_are_refused(name, options):
    with pytest.raises(OptionError):
        make_loss(name, **options)
