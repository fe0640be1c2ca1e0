"""Residual masking network (Pham, Vu and Tran 2021, ICPR) for seven expressions.

A ResNet-34 whose stages are each weighted by a small U-Net that looks at the stage's output
(Ronneberger et al. 2015). The checkpoint holds every projection of a U-Net block twice, once
under the block and once under the mask; they are one module here too.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from featflow.nodes.networks.layers import pooled
from featflow.nodes.networks.resnet import RESNET34, BasicBlock, ResNetBody


class Mask(nn.Module):
    """A U-Net over one stage's output; channels double with each level.

    Args:
        channels: of the stage.
        depth: levels. Between levels the map is halved on the way down and doubled on the
            way up.
    """

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.depth = depth
        widths = [channels << level for level in range(depth + 1)]
        down = [BasicBlock(a, b) for a, b in pairwise(widths)]
        up = [BasicBlock(a, b) for a, b in pairwise(reversed(widths))]
        self._add(dict(enumerate(down, 1)))
        self._add(dict(enumerate(up, depth + 1)))

    def _add(self, blocks: dict[int, BasicBlock]) -> None:
        """Register blocks, and the projection of each a second time, in the published order."""
        for number, block in blocks.items():
            self.add_module(f"downsample{number}", block.downsample)
        for number, block in blocks.items():
            if self.depth < number < 2 * self.depth:
                self.add_module(f"up_pool{number}", upsample(block.conv1.in_channels))
            self.add_module(f"conv{number}", block)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to weights of the same shape that sum to 1 over the channels."""
        skipped = []
        for number in range(1, self.depth + 1):
            x = self.get_submodule(f"conv{number}")(x)
            if number < self.depth:
                skipped.append(x)
                x = nn.functional.max_pool2d(x, 2)
        for number in range(self.depth + 1, 2 * self.depth):
            x = self.get_submodule(f"up_pool{number}")(x)
            x = self.get_submodule(f"conv{number}")(torch.cat([x, skipped.pop()], 1))
        x = self.get_submodule(f"conv{2 * self.depth}")(x)
        return torch.softmax(x, 1)


def upsample(channels: int) -> nn.Sequential:
    """Double the map's size and halve its channels."""
    half = channels // 2
    return nn.Sequential(
        nn.ConvTranspose2d(channels, half, 2, 2), nn.BatchNorm2d(half), nn.ReLU(inplace=True)
    )


class ResMaskNet(ResNetBody):
    """Seven expressions of a 224-pixel crop."""

    def __init__(self) -> None:
        super().__init__(BasicBlock, RESNET34)
        self.fc = nn.Sequential(nn.Dropout(0.4), nn.Linear(512, 7))
        self.mask1, self.mask2 = Mask(64, 4), Mask(128, 3)
        self.mask3, self.mask4 = Mask(256, 2), Mask(512, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """(N, 3, 224, 224), 0 to 1, to logits (N, 7).

        Order: anger, disgust, fear, happiness, sadness, surprise, neutral.
        """
        x = self.stem(x)
        for layer, mask in (
            (self.layer1, self.mask1),
            (self.layer2, self.mask2),
            (self.layer3, self.mask3),
            (self.layer4, self.mask4),
        ):
            x = layer(x)
            x = torch.addcmul(x, x, mask(x))
        logits: torch.Tensor = self.fc(pooled(x))
        return logits
