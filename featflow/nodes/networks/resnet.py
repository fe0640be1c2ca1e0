"""Residual networks (He et al. 2016, arXiv:1512.03385) as a shared backbone.

The keys are those that the field's checkpoints use: ``conv1``, ``bn1``, ``layer1`` to
``layer4``, and ``downsample.0``/``.1`` where a block changes its shape. In a bottleneck the
stride sits on the 3x3 convolution, as in every published PyTorch ResNet-50.

What a layer has just made is changed in place: large maps cost more to allocate than to add up.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from featflow.nodes.networks.layers import NormFactory, conv

RESNET18 = (2, 2, 2, 2)
RESNET34 = RESNET50 = (3, 4, 6, 3)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1

    def __init__(
        self, inputs: int, width: int, stride: int = 1, norm: NormFactory = nn.BatchNorm2d
    ) -> None:
        super().__init__()
        self.conv1 = conv(inputs, width, 3, stride)
        self.bn1 = norm(width)
        self.conv2 = conv(width, width, 3)
        self.bn2 = norm(width)
        self.downsample = shortcut(inputs, width, stride, norm)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) to (N, width, H / stride, W / stride)."""
        y = torch.relu_(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return torch.relu_(y.add_(x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut; four times as wide at its ends."""

    expansion = 4

    def __init__(
        self, inputs: int, width: int, stride: int = 1, norm: NormFactory = nn.BatchNorm2d
    ) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = conv(inputs, width)
        self.bn1 = norm(width)
        self.conv2 = conv(width, width, 3, stride)
        self.bn2 = norm(width)
        self.conv3 = conv(width, outputs)
        self.bn3 = norm(outputs)
        self.downsample = shortcut(inputs, outputs, stride, norm)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) to (N, 4 * width, H / stride, W / stride)."""
        y = torch.relu_(self.bn1(self.conv1(x)))
        y = torch.relu_(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return torch.relu_(y.add_(x if self.downsample is None else self.downsample(x)))


def shortcut(inputs: int, outputs: int, stride: int, norm: NormFactory) -> nn.Sequential | None:
    """Projection of a block's input to its output's shape; None where the shapes agree."""
    if inputs == outputs and stride == 1:
        return None
    return nn.Sequential(conv(inputs, outputs, 1, stride), norm(outputs))


def stage(
    block: type[BasicBlock] | type[Bottleneck],
    inputs: int,
    width: int,
    blocks: int,
    stride: int,
    norm: NormFactory,
) -> nn.Sequential:
    """Blocks of one width; the first carries the stride and the change of channels."""
    first = block(inputs, width, stride, norm)
    others = (block(width * block.expansion, width, 1, norm) for _ in range(blocks - 1))
    return nn.Sequential(first, *others)


class ResNetBody(nn.Module):
    """A residual network without its classifier.

    Args:
        block: kind of block.
        plan: blocks in each of the four stages.
        norm: makes the normalisation of a number of channels.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        plan: Sequence[int],
        norm: NormFactory = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.conv1 = conv(3, 64, 7, 2)
        self.bn1 = norm(64)
        wider = block.expansion
        self.layer1 = stage(block, 64, 64, plan[0], 1, norm)
        self.layer2 = stage(block, 64 * wider, 128, plan[1], 2, norm)
        self.layer3 = stage(block, 128 * wider, 256, plan[2], 2, norm)
        self.layer4 = stage(block, 256 * wider, 512, plan[3], 2, norm)

    def stem(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) to (N, 64, H / 4, W / 4)."""
        x = torch.relu_(self.bn1(self.conv1(x)))
        return nn.functional.max_pool2d(x, 3, 2, 1)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """(N, 3, H, W) to the outputs of the four stages, at 1/4, 1/8, 1/16 and 1/32 size."""
        x = self.stem(x)
        stages = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            stages.append(x)
        return stages
