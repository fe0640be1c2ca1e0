"""The mask network: a small residual pyramid down to a sixteenth and back to full size."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featflow.nodes._layers import ConvNorm, Residual


class MaskNet(nn.Module):
    """Whether each pixel of an upright face crop shows the face.

    Args:
        widths: channels at strides 2, 4, 8 and 16.
    """

    def __init__(self, widths: tuple[int, int, int, int] = (16, 32, 64, 64)) -> None:
        super().__init__()
        w2, w4, w8, w16 = widths
        self.stem = ConvNorm(3, w2, stride=2)
        self.stage4 = nn.Sequential(ConvNorm(w2, w4, stride=2), Residual(w4))
        self.stage8 = nn.Sequential(ConvNorm(w4, w8, stride=2), Residual(w8))
        self.stage16 = nn.Sequential(ConvNorm(w8, w16, stride=2), Residual(w16))
        self.side16 = ConvNorm(w16, w8, 1)
        self.merge8 = ConvNorm(w8, w8)
        self.side8 = ConvNorm(w8, w4, 1)
        self.merge4 = ConvNorm(w4, w4)
        self.side4 = ConvNorm(w4, w2, 1)
        self.merge2 = ConvNorm(w2, w2)
        self.head = nn.Conv2d(w2, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Crops (N, 3, S, S), S a multiple of 16, to logits (N, S, S)."""
        c2 = self.stem(x)
        c4 = self.stage4(c2)
        c8 = self.stage8(c4)
        p8 = self.merge8(c8 + _twice(self.side16(self.stage16(c8))))
        p4 = self.merge4(c4 + _twice(self.side8(p8)))
        p2 = self.merge2(c2 + _twice(self.side4(p4)))
        # The four pixels under each half-size one are told apart by their channel.
        return torch.as_tensor(F.pixel_shuffle(self.head(p2), 2)[:, 0].float())


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0)
