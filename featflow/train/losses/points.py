"""Losses of numbers that are measured: landmark coordinates, intensities."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from featflow.errors import ArrayError, OptionError


def wing_loss(error: Tensor, width: float = 0.15, curvature: float = 0.03) -> Tensor:
    """Wing loss (Feng et al. 2018, arXiv 1711.06753), mean over all elements.

    Like a logarithm near zero, linear beyond ``width``.

    Args:
        error: prediction minus target, in units of ``width``.
        width: where the linear part starts.
        curvature: how sharp the logarithm is; small is sharp.
    """
    if not (width > 0 and curvature > 0):
        raise OptionError(f"Wing loss needs width and curvature > 0, got {width}, {curvature}")
    size = error.abs()
    offset = width - width * math.log(1 + width / curvature)
    near = width * torch.log1p(size / curvature)
    return torch.where(size < width, near, size - offset).mean()


def concordance_loss(prediction: Tensor, target: Tensor, eps: float = 1e-8) -> Tensor:
    """One minus Lin's concordance correlation coefficient (Lin 1989), mean over the columns.

    0 where both agree, 1 without correlation, 2 for the opposite. Unlike a correlation it sees
    a wrong mean and a wrong spread too.

    Args:
        prediction: (N,) or (N, K).
        target: the same shape.
        eps: variance below which a column counts as constant; two equal constants agree.

    Raises:
        ArrayError: the shapes differ, or there are fewer than two rows.
    """
    if prediction.shape != target.shape or target.ndim not in (1, 2) or len(target) < 2:
        shapes = f"{tuple(prediction.shape)} and {tuple(target.shape)}"
        raise ArrayError("concordance", f"shapes are {shapes}", "both must be (N,) or (N, K), N>1")
    mean1, mean2 = prediction.mean(0), target.mean(0)
    one, other = prediction - mean1, target - mean2
    covariance = (one * other).mean(0)
    spread = one.square().mean(0) + other.square().mean(0) + (mean1 - mean2).square()
    return (1 - (2 * covariance + eps) / (spread + eps)).mean()
