"""The detector network: one stage, no anchors, four strides, a light pyramid."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featflow.nodes._layers import ConvNorm, Residual, Separable

STRIDES = (8, 16, 32, 64)
N_OUTPUTS = 15
"""Per cell: score logit, box (dx, dy, log w, log h), five points (x, y), in strides."""


class FaceNet(nn.Module):
    """Frames to one prediction a cell of four grids.

    Args:
        widths: channels at strides 2, 4, 8, 16, 32 (and 64).
        pyramid: channels of the pyramid and the heads.
    """

    def __init__(
        self, widths: tuple[int, int, int, int, int] = (16, 24, 40, 80, 120), pyramid: int = 48
    ) -> None:
        super().__init__()
        w2, w4, w8, w16, w32 = widths
        self.stem = nn.Sequential(
            ConvNorm(3, w2, stride=2), ConvNorm(w2, w4, stride=2), Separable(w4, w4)
        )
        self.stage8 = nn.Sequential(ConvNorm(w4, w8, stride=2), Residual(w8))
        self.stage16 = nn.Sequential(ConvNorm(w8, w16, stride=2), Residual(w16))
        self.stage32 = nn.Sequential(ConvNorm(w16, w32, stride=2), Residual(w32))
        self.stage64 = nn.Sequential(Separable(w32, w32, stride=2), Separable(w32, w32))
        self.sides = nn.ModuleList([ConvNorm(w, pyramid, 1) for w in (w8, w16, w32, w32)])
        self.smooth = nn.ModuleList([Separable(pyramid, pyramid) for _ in STRIDES])
        # One tower a stride: shared, their batch norms would run on the mean of four levels'
        # statistics and see none of them right.
        self.towers = nn.ModuleList(
            [
                nn.Sequential(Separable(pyramid, pyramid), Separable(pyramid, pyramid))
                for _ in STRIDES
            ]
        )
        self.heads = nn.ModuleList([nn.Conv2d(pyramid, N_OUTPUTS, 1) for _ in STRIDES])
        for head in self.heads:
            # Faces are rare: start from a score of one in a hundred (Lin et al. 2017).
            nn.init.constant_(head.bias[:1], -4.6)  # type: ignore[index]

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) with sides divisible by 64 to (N, cells, 15), strides in order."""
        c8 = self.stage8(self.stem(x))
        c16 = self.stage16(c8)
        c32 = self.stage32(c16)
        levels = [c8, c16, c32, self.stage64(c32)]
        merged: list[Tensor] = []
        for index in (3, 2, 1, 0):
            level = self.sides[index](levels[index])
            if merged:
                level = level + F.interpolate(merged[-1], scale_factor=2.0)
            merged.append(self.smooth[index](level))
        outputs = [
            head(tower(level)).permute(0, 2, 3, 1).flatten(1, 2)
            for head, tower, level in zip(self.heads, self.towers, reversed(merged), strict=True)
        ]
        return torch.cat(outputs, 1)


def cell_grid(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Centre x, centre y and stride of every cell, (cells, 3) in input pixels."""
    parts = []
    for stride in STRIDES:
        y, x = torch.meshgrid(
            torch.arange(height // stride, device=device),
            torch.arange(width // stride, device=device),
            indexing="ij",
        )
        centres = (torch.stack([x, y], -1).float().flatten(0, 1) + 0.5) * stride
        parts.append(F.pad(centres, (0, 1), value=float(stride)))
    return torch.cat(parts)


def decode(outputs: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    """Turn outputs into boxes and points.

    Args:
        outputs: (..., cells, 15).
        cells: (cells, 3) of :func:`cell_grid`.

    Returns:
        Boxes (..., cells, 4) x0, y0, x1, y1 and points (..., cells, 5, 2) in input pixels.
    """
    centre, stride = cells[:, :2], cells[:, 2:]
    middle = centre + outputs[..., 1:3] * stride
    half = outputs[..., 3:5].clamp(max=5.0).exp() * stride / 2
    points = centre[:, None] + outputs[..., 5:].reshape(*outputs.shape[:-1], 5, 2) * stride[:, None]
    return torch.cat([middle - half, middle + half], -1), points
