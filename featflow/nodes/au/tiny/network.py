"""The action unit network: what 68 points say, corrected by what the pixels say."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from featflow.geometry.landmarks import MIRROR_68
from featflow.nodes._layers import ConvNorm, Residual, mirrored_passes
from featflow.nodes.au.tiny.units import SILENT, UNITS


class ActionUnitNet(nn.Module):
    """20 action units from an aligned crop and aligned points.

    The points alone give each unit a logit; that branch learns from exact geometry too, where
    there are no pixels. Crop and points together give what is added to it. Units that no
    photograph teaches get nothing added, because the pixels' say on them would be chance.

    Args:
        size: side of the crop in pixels, a multiple of 16.
        widths: channels at strides 2, 4, 8 and 16.
        blocks: residual blocks at strides 4, 8 and 16.
        squeeze: channels of the last map, which is read as it lies.
        hidden: units of the layers that join crop and points.
        points: units of the hidden layers that read the points.
        dropout: part of the hidden units left out in training.
    """

    def __init__(
        self,
        size: int = 80,
        widths: tuple[int, int, int, int] = (16, 32, 64, 128),
        blocks: tuple[int, int, int] = (1, 1, 1),
        squeeze: int = 24,
        hidden: int = 96,
        points: int = 128,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        w2, w4, w8, w16 = widths
        self.pixels = nn.Sequential(
            ConvNorm(3, w2, stride=2),
            ConvNorm(w2, w4, stride=2),
            *[Residual(w4) for _ in range(blocks[0])],
            ConvNorm(w4, w8, stride=2),
            *[Residual(w8) for _ in range(blocks[1])],
            ConvNorm(w8, w16, stride=2),
            *[Residual(w16) for _ in range(blocks[2])],
            ConvNorm(w16, squeeze, kernel=1),
        )
        seen = squeeze * (size // 16) ** 2
        self.look = nn.Sequential(nn.Flatten(), nn.Linear(seen, hidden), nn.ReLU())
        self.shape = nn.Sequential(
            nn.Linear(2 * len(MIRROR_68), points),
            nn.LayerNorm(points),
            nn.SiLU(),
            nn.Linear(points, points),
            nn.LayerNorm(points),
            nn.SiLU(),
        )
        self.shape_units = nn.Linear(points, len(UNITS))
        self.join = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(hidden + points, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, len(UNITS)),
        )
        self.register_buffer("partner", torch.tensor(MIRROR_68.copy()), persistent=False)
        taught = torch.tensor([float(unit not in SILENT) for unit in UNITS])
        self.register_buffer("taught", taught, persistent=False)
        self.partner: Tensor
        self.taught: Tensor

    def from_points(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """What the points alone say; the same for a face and its mirror image.

        Args:
            points: (N, 68, 2) on the unit square of the mean face, its middle at 0, 0.

        Returns:
            Logits (N, 20) and features (N, F).
        """
        mirrored = points[:, self.partner] * points.new_tensor([-1.0, 1.0])
        plain, other = self.shape(torch.cat([points, mirrored]).flatten(1)).chunk(2)
        features = (plain + other) / 2
        return self.shape_units(features), features

    def forward(self, crop: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, 20) from crops (N, 3, size, size) and points, and from the points alone."""
        shape, features = self.from_points(points)
        look = self.look(self.pixels(crop))
        more = self.join(torch.cat([look, features], 1))
        return shape + more * self.taught, shape


def both_ways(model: nn.Module, crop: Tensor, points: Tensor) -> Tensor:
    """Logits (N, 20) of faces seen as they are and in a mirror, averaged.

    A face and its mirror image, with mirrored points, get the same units.
    """
    (plain, _), (other, _) = mirrored_passes(model, crop, points)
    return (plain + other) / 2
