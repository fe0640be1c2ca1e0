"""RetinaFace with a ResNet-34 backbone (Deng et al. 2019, arXiv:1905.00641).

A feature pyramid of three levels (strides 8, 16, 32), a context module on each (SSH, Najibi
et al. 2017) and 1x1 heads for class, box and five points. Anchors and decoding live in
:mod:`featflow.nodes.networks.anchors`.
"""

from __future__ import annotations

import torch
from torch import nn

from featflow.nodes.networks.layers import conv_bn
from featflow.nodes.networks.resnet import RESNET34, BasicBlock, ResNetBody

WIDTH = 128
ANCHORS = 2


class Pyramid(nn.Module):
    """Three levels of equal width, each enriched by the next coarser one."""

    def __init__(self) -> None:
        super().__init__()
        self.output1 = conv_bn(128, WIDTH, relu=True)
        self.output2 = conv_bn(256, WIDTH, relu=True)
        self.output3 = conv_bn(512, WIDTH, relu=True)
        self.merge1 = conv_bn(WIDTH, WIDTH, 3, relu=True)
        self.merge2 = conv_bn(WIDTH, WIDTH, 3, relu=True)

    def forward(self, stages: list[torch.Tensor]) -> list[torch.Tensor]:
        """Backbone stages 2 to 4 to three maps of 128 channels, finest first."""
        fine, middle, coarse = self.output1(stages[0]), self.output2(stages[1]), stages[2]
        coarse = self.output3(coarse)
        middle = self.merge2(middle + enlarge(coarse, middle))
        fine = self.merge1(fine + enlarge(middle, fine))
        return [fine, middle, coarse]


def enlarge(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Nearest-neighbour resize to the size of another map."""
    return nn.functional.interpolate(x, size=like.shape[2:], mode="nearest")


class Context(nn.Module):
    """Three receptive fields side by side, from stacked 3x3 convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv3X3 = conv_bn(WIDTH, WIDTH // 2, 3)
        self.conv5X5_1 = conv_bn(WIDTH, WIDTH // 4, 3, relu=True)
        self.conv5X5_2 = conv_bn(WIDTH // 4, WIDTH // 4, 3)
        self.conv7X7_2 = conv_bn(WIDTH // 4, WIDTH // 4, 3, relu=True)
        self.conv7x7_3 = conv_bn(WIDTH // 4, WIDTH // 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 128, H, W) to the same shape."""
        wide = self.conv5X5_1(x)
        widest = self.conv7x7_3(self.conv7X7_2(wide))
        return torch.relu_(torch.cat([self.conv3X3(x), self.conv5X5_2(wide), widest], 1))


class Head(nn.Module):
    """One 1x1 convolution a level; ``values`` numbers an anchor."""

    def __init__(self, values: int) -> None:
        super().__init__()
        self.values = values
        self._convs = nn.ModuleList(nn.Conv2d(WIDTH, ANCHORS * values, 1) for _ in range(3))

    def forward(self, levels: list[torch.Tensor]) -> torch.Tensor:
        """Three maps to (N, anchors, values): finest level first, row, column, anchor size."""
        rows = [
            layer(x).permute(0, 2, 3, 1).reshape(len(x), -1, self.values)
            for layer, x in zip(self._convs, levels, strict=True)
        ]
        return torch.cat(rows, 1)


class RetinaFace(nn.Module):
    """RetinaFace, ResNet-34."""

    def __init__(self) -> None:
        super().__init__()
        self.body = ResNetBody(BasicBlock, RESNET34)
        self.fpn = Pyramid()
        self.ssh1, self.ssh2, self.ssh3 = Context(), Context(), Context()
        self.ClassHead = Head(2)
        self.BboxHead = Head(4)
        self.LandmarkHead = Head(10)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Find faces.

        Args:
            x: (N, 3, H, W), 0 to 255 less the mean of each channel.

        Returns:
            Box deltas (N, A, 4), probabilities of background and face (N, A, 2) and point
            deltas (N, A, 10), one row an anchor.
        """
        fine, middle, coarse = self.fpn(self.body(x)[1:])
        levels = [self.ssh1(fine), self.ssh2(middle), self.ssh3(coarse)]
        scores = torch.softmax(self.ClassHead(levels), -1)
        return self.BboxHead(levels), scores, self.LandmarkHead(levels)
