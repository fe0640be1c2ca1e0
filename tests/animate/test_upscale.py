import numpy as np
import pytest

from featflow.animate.upscale import LanczosUpscaler
from featflow.errors import OptionError


def up(image, scale):
    out = np.empty((image.shape[0] * scale, image.shape[1] * scale, 4), np.uint8)
    LanczosUpscaler(scale).upscale(image, out)
    return out


@pytest.mark.parametrize("scale", [2, 4])
def test_a_constant_picture_stays_constant(scale):
    image = np.full((64, 48, 4), (12, 200, 99, 255), np.uint8)
    assert (up(image, scale) == image[0, 0]).all()


@pytest.mark.parametrize("scale", [2, 4])
def test_alpha_rises_once_and_never_overshoots(scale):
    image = np.zeros((32, 32, 4), np.uint8)
    image[:, 16:] = (10, 20, 30, 200)
    alpha = up(image, scale)[16, :, 3].astype(int)
    assert (np.diff(alpha) >= 0).all()
    assert alpha.min() == 0
    assert alpha.max() == 200
    # Pixel centres: the middle of the edge stays in the middle.
    assert alpha[16 * scale - 1] + alpha[16 * scale] == pytest.approx(200, abs=2)


def test_hidden_colour_does_not_bleed():
    image = np.zeros((32, 32, 4), np.uint8)
    image[:] = (0, 255, 0, 0)
    image[:, 16:] = (0, 0, 255, 255)
    large = up(image, 4)
    seen = large[..., 3] > 0
    assert large[seen][:, 1].max() == 0


def test_other_scales_are_refused():
    with pytest.raises(OptionError, match="2 or 4"):
        LanczosUpscaler(3)
