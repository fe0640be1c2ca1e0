"""Losses of one pixel at a time."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from featflow.errors import OptionError
from featflow.train.losses.base import MapLoss, Region, WholeLoss, masked_mean


class _Elementwise(MapLoss):
    @abstractmethod
    def of_error(self, error: Tensor) -> Tensor:
        """Loss of each difference between prediction and target."""

    def error_map(self, prediction: Tensor, target: Tensor) -> Tensor:
        return self.of_error(prediction - target).mean(1, keepdim=True)


class MAE(_Elementwise):
    """Mean absolute error."""

    def of_error(self, error: Tensor) -> Tensor:
        return error.abs()


class MSE(_Elementwise):
    """Mean squared error."""

    def of_error(self, error: Tensor) -> Tensor:
        return error.square()


class SmoothL1(_Elementwise):
    """Quadratic below ``beta``, linear above (Girshick 2015, "Fast R-CNN").

    Args:
        beta: where the two meet, in units of the picture; 1 would make every error of a
            picture in 0..1 quadratic.
    """

    def __init__(self, beta: float = 0.1) -> None:
        super().__init__()
        if not beta > 0:
            raise OptionError(f"smooth L1 needs beta > 0, got {beta}")
        self.beta = beta

    def of_error(self, error: Tensor) -> Tensor:
        return F.smooth_l1_loss(error, torch.zeros_like(error), reduction="none", beta=self.beta)


class LogCosh(_Elementwise):
    """Logarithm of the hyperbolic cosine: like half the square near 0, like |x| far away."""

    def of_error(self, error: Tensor) -> Tensor:
        # cosh itself would overflow from 89 on.
        size = error.abs()
        return size + F.softplus(-2 * size) - math.log(2.0)


class GeneralRobust(_Elementwise):
    """Barron's general robust loss (Barron 2019, arXiv 1701.03077).

    Args:
        alpha: shape: 2 is half the square, 1 Charbonnier, 0 Cauchy, -2 Geman-McClure,
            ``-math.inf`` Welsch.
        scale: size of an error that still counts as small, in units of the picture.
    """

    def __init__(self, alpha: float = 1.0, scale: float = 1 / 255) -> None:
        super().__init__()
        if not scale > 0 or math.isnan(alpha) or alpha == math.inf:
            raise OptionError(f"general robust loss: alpha {alpha}, scale {scale} cannot be used")
        self.alpha, self.scale = alpha, scale

    def of_error(self, error: Tensor) -> Tensor:
        square = (error / self.scale).square()
        if self.alpha == 2:
            return 0.5 * square
        if self.alpha == 0:
            return torch.log1p(0.5 * square)
        if self.alpha == -math.inf:
            return -torch.expm1(-0.5 * square)
        # (1 + s)^(a/2) - 1 loses all digits of a small s in single precision; expm1 keeps them.
        away = abs(self.alpha - 2)
        return away / self.alpha * torch.expm1(self.alpha / 2 * torch.log1p(square / away))


class LInfinity(WholeLoss):
    """Largest absolute error of each channel, mean over the channels.

    A region's multiplier scales the errors inside it.
    """

    is_mean: ClassVar[bool] = False

    def whole(self, prediction: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
        error = (prediction - target).abs()
        error = error if mask is None else error * mask
        return error.amax((-2, -1)).mean(1)

    def _value(
        self, prediction: Tensor, target: Tensor, mask: Tensor | None, regions: Sequence[Region]
    ) -> Tensor:
        weight = torch.ones_like(target[:, :1]) if mask is None else mask
        for times, region in regions:
            weight = weight * (1 + (times - 1) * region)
        return self.whole(prediction, target, weight)


class GradientDifference(MapLoss):
    """First and second derivatives of two pictures compared, along both axes.

    Central differences with the edge repeated. Half the sum over ``x``, ``y``, ``xx``, ``yy``
    and twice ``xy`` of a general robust loss with scale 1.

    Args:
        alpha: shape of the robust loss; 2 is half the square.
    """

    smallest = 2

    def __init__(self, alpha: float = 2.0) -> None:
        super().__init__()
        self.robust = GeneralRobust(alpha, 1.0)

    def error_map(self, prediction: Tensor, target: Tensor) -> Tensor:
        # Differences are linear: those of the error are the error of the differences.
        error = prediction - target
        low, mid, high = _neighbours(error, -1)
        x, xx = (high - low) / 2, high - 2 * mid + low
        low, mid, high = _neighbours(error, -2)
        y, yy = (high - low) / 2, high - 2 * mid + low
        low, _, high = _neighbours(x, -2)
        xy = (high - low) / 2
        terms = [self.robust.of_error(each) for each in (x, y, xx, yy, xy, xy)]
        return 0.5 * torch.stack(terms).sum(0).mean(1, keepdim=True)


def _neighbours(images: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Previous, same and next pixel along an axis, the edge repeated."""
    size = images.shape[dim]
    first, last = images.narrow(dim, 0, 1), images.narrow(dim, size - 1, 1)
    before = torch.cat([first, images.narrow(dim, 0, size - 1)], dim)
    after = torch.cat([images.narrow(dim, 1, size - 1), last], dim)
    return before, images, after


def learned_mask_loss(name: str, prediction: Tensor, mask: Tensor) -> Tensor:
    """Loss (N,) of a predicted mask against the true one: ``mae`` or ``mse``."""
    kinds = {"mae": MAE, "mse": MSE}
    if name not in kinds:
        raise OptionError(f"mask loss must be one of {sorted(kinds)}, got {name!r}")
    return masked_mean(kinds[name]().error_map(prediction, mask), None).squeeze(1)
