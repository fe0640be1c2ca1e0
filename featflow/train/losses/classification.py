"""Losses of classes: soft targets, rare classes, identities."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featflow.errors import ArrayError, OptionError


def soft_cross_entropy(logits: Tensor, target: Tensor, above_entropy: bool = False) -> Tensor:
    """Cross entropy against probabilities, mean over the rows.

    Args:
        logits: (N, K).
        target: (N, K), rows that sum to 1.
        above_entropy: take off the target's own entropy, the least value there can be; what is
            left is the Kullback-Leibler divergence, 0 where both agree. The gradient is the same.

    Raises:
        ArrayError: the shapes differ.
    """
    _same_shape("soft cross entropy", logits, target)
    loss = -(target * F.log_softmax(logits, -1)).sum(-1)
    if above_entropy:
        loss = loss + torch.xlogy(target, target).sum(-1)
    return loss.mean()


def focal_loss(
    logits: Tensor, target: Tensor, gamma: float = 2.0, alpha: float | None = 0.25
) -> Tensor:
    """Focal loss of yes-or-no decisions (Lin et al. 2017, arXiv 1708.02002), mean.

    Cross entropy times ``(1 - p) ** gamma``, where p is the probability of the right answer.

    Args:
        logits: any shape.
        target: the same shape, 0 or 1.
        gamma: 0 is the plain cross entropy.
        alpha: weight of the positives, 1 - alpha that of the negatives; None weighs neither.

    Raises:
        ArrayError: the shapes differ.
        OptionError: gamma is negative, or alpha not in 0..1.
    """
    _same_shape("focal loss", logits, target)
    _check_gamma(gamma)
    if alpha is not None and not 0 <= alpha <= 1:
        raise OptionError(f"focal loss needs alpha in 0..1, got {alpha}")
    target = target.to(logits)
    cross = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    wrong = torch.sigmoid(logits * (1 - 2 * target))
    loss = cross * _power(wrong, gamma)
    if alpha is not None:
        loss = loss * (alpha * target + (1 - alpha) * (1 - target))
    return loss.mean()


def class_focal_loss(logits: Tensor, labels: Tensor, gamma: float = 2.0) -> Tensor:
    """Focal loss of one class out of K, mean over the rows.

    Args:
        logits: (N, K).
        labels: (N,) class indices.
        gamma: 0 is the plain cross entropy.

    Raises:
        OptionError: gamma is negative.
    """
    _check_gamma(gamma)
    log_right = F.log_softmax(logits, -1).gather(-1, labels[:, None]).squeeze(-1)
    return (-_power(-torch.expm1(log_right), gamma) * log_right).mean()


class ArcFace(nn.Module):
    """Additive angular margin loss for identities (Deng et al. 2019, arXiv 1801.07698).

    The angle between an embedding and the centre of its own identity is made larger by the
    margin before the cross entropy. Beyond 180 degrees less the margin, where the cosine would
    rise again, it goes on falling linearly.

    Args:
        dimensions: length D of an embedding.
        identities: number K of identities.
        margin: radians.
        scale: factor of the cosines.
    """

    def __init__(
        self, dimensions: int, identities: int, margin: float = 0.5, scale: float = 64.0
    ) -> None:
        super().__init__()
        if not (0 <= margin < math.pi / 2 and scale > 0):
            raise OptionError(f"ArcFace: margin {margin} or scale {scale} cannot be used")
        self.margin, self.scale = margin, scale
        self.centres = nn.Parameter(torch.randn(identities, dimensions) * dimensions**-0.5)

    def logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Scaled cosines (N, K), with the margin at each row's own identity."""
        cosine = F.linear(F.normalize(embeddings), F.normalize(self.centres))
        own = cosine.gather(1, labels[:, None])
        # The sine's slope has no bound where the cosine is 1.
        sine = torch.sqrt((1 - own.square()).clamp(min=1e-7))
        turned = own * math.cos(self.margin) - sine * math.sin(self.margin)
        beyond = own - self.margin * math.sin(self.margin)
        turned = torch.where(own > -math.cos(self.margin), turned, beyond)
        return self.scale * cosine.scatter(1, labels[:, None], turned)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of (N, D) embeddings of (N,) identities, a scalar."""
        return F.cross_entropy(self.logits(embeddings, labels), labels)


def _power(base: Tensor, exponent: float) -> Tensor:
    """``base ** exponent`` for bases in 0..1, its slope finite at 0 for exponents below 1 too."""
    return base.clamp(min=1e-12) ** exponent


def _check_gamma(gamma: float) -> None:
    if not gamma >= 0:
        raise OptionError(f"focal loss needs gamma >= 0, got {gamma}")


def _same_shape(name: str, one: Tensor, other: Tensor) -> None:
    if one.shape != other.shape:
        shapes = f"{tuple(one.shape)} and {tuple(other.shape)}"
        raise ArrayError(name, f"shapes are {shapes}", "they must be equal")
