"""How far predicted action units are from the truth."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

LEAST_VARIANCE = 1e-4


def unit_loss(logits: Tensor, truth: Tensor, spread: Tensor) -> Tensor:
    """Cross entropy with values 0..1, a unit as heavy as it is seldom moved.

    The gradient is (prediction - truth) / spread, so that a unit whose teacher stays below .1
    counts as much as one that uses the whole range.

    Args:
        logits: (N, U).
        truth: (N, U) 0..1; NaN where unknown, which costs nothing.
        spread: (U,) standard deviation of the truth.
    """
    known = truth.isfinite()
    value = truth.nan_to_num(0.0)
    cost = F.binary_cross_entropy_with_logits(logits, value, reduction="none")
    return (cost / spread * known).sum() / known.sum().clamp(min=1)


def discord(predicted: Tensor, truth: Tensor) -> Tensor:
    """1 - concordance (Lin 1989) over the batch, mean of the units that are known throughout.

    Args:
        predicted, truth: (N, U) 0..1; a unit with a NaN is left out.
    """
    known = truth.isfinite().all(0)
    a, b = predicted[:, known], truth[:, known]
    mean_a, mean_b = a.mean(0), b.mean(0)
    shared = ((a - mean_a) * (b - mean_b)).mean(0)
    total = a.var(0, correction=0) + b.var(0, correction=0) + (mean_a - mean_b).square()
    return (1 - 2 * shared / (total + LEAST_VARIANCE)).mean()
