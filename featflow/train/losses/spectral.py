"""Losses of frequencies: the Fourier spectrum and the Laplacian pyramid."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from featflow.errors import OptionError
from featflow.train.losses.base import MapLoss, WholeLoss, blur, gaussian, masked_mean


class FocalFrequency(WholeLoss):
    """Focal frequency loss (Jiang et al. 2021, arXiv 2012.12821).

    The mean squared distance of the orthonormal spectra, each frequency weighted by its own
    distance to the power ``alpha`` over the largest one of the channel. The weights carry no
    gradient. A spectrum has no place, so a mask is laid on the difference of the pictures
    before it is transformed, and the mean is divided by the part that the mask covers.

    Args:
        alpha: how much frequencies that are far off count more; 0 is the mean squared error.
    """

    is_mean: ClassVar[bool] = True

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        if not alpha >= 0:
            raise OptionError(f"focal frequency loss needs alpha >= 0, got {alpha}")
        self.alpha = alpha

    def whole(self, prediction: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
        error = prediction - target
        spectrum = torch.fft.fft2(error if mask is None else error * mask, norm="ortho")
        distance = spectrum.real.square() + spectrum.imag.square()
        weight = distance.detach() ** (self.alpha / 2)
        largest = weight.amax((-2, -1), keepdim=True)
        weight = weight / torch.where(largest > 0, largest, 1)
        value: Tensor = (weight * distance).mean((1, 2, 3))
        if mask is None:
            return value
        share = masked_mean(mask, None).squeeze(1)
        return value / torch.where(share > 0, share, 1)


class LaplacianPyramid(MapLoss):
    """L1 distance of Laplacian pyramids (Bojanowski et al. 2018, arXiv 1707.05776).

    Each level is what a 5 x 5 Gaussian of standard deviation 1 takes away; the blurred picture,
    halved, makes the next, and the last rest is a level too. The paper's factor 4 ** level
    makes up for the fewer pixels of a coarse level: here each level counts by its mean.

    Args:
        levels: band-pass levels before the rest.
    """

    def __init__(self, levels: int = 5) -> None:
        super().__init__()
        if levels < 1:
            raise OptionError(f"a Laplacian pyramid needs one level or more, got {levels}")
        self.levels = levels
        self.smallest = 2**levels

    def error_map(self, prediction: Tensor, target: Tensor) -> Tensor:
        # The pyramid is linear: that of the error is the error of the pyramids.
        rest, size = prediction - target, target.shape[-2:]
        total = torch.zeros_like(target[:, :1])
        kernel = gaussian(5, 1.0)
        for _ in range(self.levels):
            blurred = blur(rest, kernel, "replicate")
            total = total + _at_size(rest - blurred, size)
            rest = F.avg_pool2d(blurred, 2, ceil_mode=True, count_include_pad=False)
        return total + _at_size(rest, size)


def _at_size(level: Tensor, size: torch.Size) -> Tensor:
    """Mean size of the channels of a level, each value spread over the pixels it stands for."""
    return F.interpolate(level.abs().mean(1, keepdim=True), size=size, mode="nearest")
