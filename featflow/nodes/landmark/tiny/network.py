"""The landmark network: a small residual pyramid and 68 heat maps read by their mean."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featflow.geometry.landmarks import MIRROR_68
from featflow.nodes._layers import ConvNorm, Residual, mirrored_passes

N_POINTS = 68


class LandmarkNet(nn.Module):
    """68 points and a confidence from an aligned crop.

    Points are the mean of a soft-max over a quarter-size map (integral regression, Sun et al.
    2018), so they are sub-pixel and need no decoding.

    Args:
        size: side of the input in pixels, a multiple of 16.
        widths: channels at strides 2, 4, 8 and 16.
        blocks: residual blocks at strides 4, 8 and 16.
    """

    def __init__(
        self,
        size: int = 112,
        widths: tuple[int, int, int, int] = (16, 32, 64, 128),
        blocks: tuple[int, int, int] = (1, 2, 2),
    ) -> None:
        super().__init__()
        w2, w4, w8, w16 = widths
        self.size = size
        self.stem = nn.Sequential(ConvNorm(3, w2, stride=2), ConvNorm(w2, w4, stride=2))
        self.stage4 = nn.Sequential(*[Residual(w4) for _ in range(blocks[0])])
        self.stage8 = nn.Sequential(
            ConvNorm(w4, w8, stride=2), *[Residual(w8) for _ in range(blocks[1])]
        )
        self.stage16 = nn.Sequential(
            ConvNorm(w8, w16, stride=2), *[Residual(w16) for _ in range(blocks[2])]
        )
        self.side16 = ConvNorm(w16, w8, 1)
        self.merge8 = ConvNorm(w8, w8)
        self.side8 = ConvNorm(w8, w4, 1)
        self.merge4 = ConvNorm(w4, w8)
        self.heat = nn.Conv2d(w8, N_POINTS, 1)
        self.confidence = nn.Sequential(nn.Linear(w16, 64), nn.ReLU(), nn.Linear(64, 1))
        cells = (torch.arange(size // 4, dtype=torch.float32) + 0.5) * 4
        y, x = torch.meshgrid(cells, cells, indexing="ij")
        self.register_buffer("places", torch.stack([x, y]).flatten(1), persistent=False)
        self.places: Tensor

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Crops (N, 3, size, size) to points (N, 68, 2) in crop pixels and logits (N,)."""
        c4 = self.stage4(self.stem(x))
        c8 = self.stage8(c4)
        c16 = self.stage16(c8)
        p8 = self.merge8(c8 + F.interpolate(self.side16(c16), scale_factor=2.0))
        p4 = self.merge4(c4 + F.interpolate(self.side8(p8), scale_factor=2.0))
        # Places before points: that is how channels-last memory lies, so nothing is copied.
        heat = self.heat(p4).float().permute(0, 2, 3, 1).flatten(1, 2).softmax(1)
        points = (self.places @ heat).transpose(1, 2)
        logit = self.confidence(c16.mean((2, 3))).squeeze(-1)
        return points, logit


def both_ways(model: nn.Module, crops: Tensor) -> tuple[Tensor, Tensor]:
    """Points and logits of crops seen as they are and in a mirror, averaged.

    A face and its mirror image get mirrored points: what the network makes of one side alone
    weighs half.
    """
    (here, logit), (mirrored, other) = mirrored_passes(model, crops)
    x, y = mirrored[:, torch.from_numpy(MIRROR_68.copy())].unbind(-1)
    there = torch.stack([crops.shape[-1] - x, y], -1)
    return (here + there) / 2, (logit + other) / 2
