"""Residual masking network (Pham, Vu and Tran 2021, ICPR) for seven expressions.

A ResNet-34 whose stages are each weighted by a small U-Net that looks at the stage's output
(Ronneberger et al. 2015). The checkpoint holds every projection of a U-Net block twice, once
under the block and once under the mask; they are one module here too.
"""

from __future__ import annotations

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
        downs = [BasicBlock(a, b) for a, b in zip(widths, widths[1:], strict=False)]
        ups = [BasicBlock(b, a) for a, b in reversed(list(zip(widths, widths[1:], strict=False)))]
        self._add(downs, 1)
        for number, (block, width) in enumerate(zip(ups, reversed(widths), strict=False)):
            self._add([block], depth + 1 + number)
            if number < depth - 1:
                self.add_module(f"up_pool{depth + 1 + number}", upsample(width))

    def _add(self, blocks: list[BasicBlock], first: int) -> None:
        for number, block in enumerate(blocks, first):
            self.add_module(f"downsample{number}", block.downsample)
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
        for stage in range(4):
            self.add_module(f"mask{stage + 1}", Mask(64 << stage, 4 - stage))

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
            x = x * (1 + mask(x))
        logits: torch.Tensor = self.fc(pooled(x))
        return logits
