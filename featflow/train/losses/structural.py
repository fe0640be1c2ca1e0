"""Losses of structure: how neighbouring pixels vary together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from featflow.errors import OptionError
from featflow.train.losses.base import (
    MapLoss,
    WholeLoss,
    blur,
    filter_planes,
    gaussian,
    masked_mean,
    safe_sqrt,
)

WINDOW, SIGMA = 11, 1.5
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales (Wang, Simoncelli and Bovik 2003)."""

_LUMINANCE, _CONTRAST = 0.01**2, 0.03**2


def similarity_maps(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Luminance and contrast-structure terms of SSIM, each (N, C, H, W), of pictures in 0..1.

    An 11 x 11 Gaussian window of standard deviation 1.5, the picture mirrored at its edge
    (Wang, Bovik, Sheikh and Simoncelli 2004).
    """
    window = gaussian(WINDOW, SIGMA)
    moments = torch.cat([one, other, one * one, other * other, one * other], 1)
    mean1, mean2, square1, square2, product = blur(moments, window, "reflect").chunk(5, 1)
    variances = square1 - mean1**2 + square2 - mean2**2
    covariance = product - mean1 * mean2
    luminance = (2 * mean1 * mean2 + _LUMINANCE) / (mean1**2 + mean2**2 + _LUMINANCE)
    contrast = (2 * covariance + _CONTRAST) / (variances + _CONTRAST)
    return luminance, contrast


class SSIM(MapLoss):
    """One minus the structural similarity of each channel (Wang et al. 2004), pictures in 0..1."""

    smallest = WINDOW // 2 + 1

    def error_map(self, prediction: Tensor, target: Tensor) -> Tensor:
        luminance, contrast = similarity_maps(prediction, target)
        return (1 - luminance * contrast).mean(1, keepdim=True)


class MultiScaleSSIM(WholeLoss):
    """One minus the multi-scale structural similarity (Wang et al. 2003), pictures in 0..1.

    Each scale is half the last, by 2 x 2 means; contrast terms are averaged over the picture
    (or the mask) and multiplied, with the luminance of the last scale. Negative means count as
    nothing in common.

    Args:
        weights: exponent of each scale, finest first; five scales need 96 pixels a side.
    """

    is_mean: ClassVar[bool] = False

    def __init__(self, weights: Sequence[float] = SCALE_WEIGHTS) -> None:
        super().__init__()
        if not weights or min(weights) <= 0:
            raise OptionError(f"multi-scale SSIM needs weights above 0, got {tuple(weights)}")
        self.weights = tuple(weights)
        self.smallest = SSIM.smallest * 2 ** (len(weights) - 1)

    @classmethod
    def fitting(cls, side: int) -> MultiScaleSSIM:
        """As many of the five scales as pictures of ``side`` pixels have, weights summing to 1.

        Raises:
            OptionError: there is not even one.
        """
        if side < SSIM.smallest:
            raise OptionError(f"SSIM needs {SSIM.smallest} pixels a side, got {side}")
        count = min(len(SCALE_WEIGHTS), 1 + int(math.log2(side / SSIM.smallest)))
        kept = SCALE_WEIGHTS[:count]
        return cls([weight / sum(kept) for weight in kept])

    def whole(self, prediction: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
        similarity = torch.ones_like(target[:, :, 0, 0])
        last = len(self.weights) - 1
        for scale, weight in enumerate(self.weights):
            luminance, contrast = similarity_maps(prediction, target)
            term = masked_mean(luminance * contrast if scale == last else contrast, mask)
            # The slope of x ** 0.0448 has no bound at 0.
            similarity = similarity * term.clamp(min=1e-6) ** weight
            if scale < last:
                prediction, target = F.avg_pool2d(prediction, 2), F.avg_pool2d(target, 2)
                mask = None if mask is None else F.avg_pool2d(mask, 2)
        value = (1 - similarity).mean(1)
        return value if mask is None else torch.where(mask.sum((1, 2, 3)) > 0, value, 0 * value)


class GMSD(WholeLoss):
    """Gradient magnitude similarity deviation (Xue et al. 2014, arXiv 1308.3052).

    Prewitt gradients of each channel, halved in size by 2 x 2 means first; the standard
    deviation over the picture of how alike their magnitudes are, mean over the channels.

    Args:
        constant: of the similarity, for pictures in 0..1 (170 in the paper's 0..255).
    """

    is_mean: ClassVar[bool] = False
    smallest = 4

    def __init__(self, constant: float = 170 / 255**2) -> None:
        super().__init__()
        if not constant > 0:
            raise OptionError(f"GMSD needs a constant above 0, got {constant}")
        self.constant = constant

    def similarity(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Gradient magnitude similarity, (N, C, H // 2, W // 2), at most 1."""
        one, other = (_prewitt(F.avg_pool2d(each, 2)) for each in (prediction, target))
        return (2 * one * other + self.constant) / (one**2 + other**2 + self.constant)

    def whole(self, prediction: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
        alike = self.similarity(prediction, target)
        mask = None if mask is None else F.avg_pool2d(mask, 2)
        mean = masked_mean(alike, mask)[..., None, None]
        variance = masked_mean((alike - mean).square(), mask)
        return safe_sqrt(variance, 1e-14).mean(1)


def _prewitt(images: Tensor) -> Tensor:
    """Magnitude of the Prewitt gradient of each channel."""
    kernel = torch.tensor([[1.0, 0.0, -1.0]] * 3) / 3
    along_x = filter_planes(images, kernel, "replicate")
    along_y = filter_planes(images, kernel.T, "replicate")
    return safe_sqrt(along_x.square() + along_y.square(), 1e-14)
