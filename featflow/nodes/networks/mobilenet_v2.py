"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381) with a 68-point head.

The published checkpoint wraps a whole ImageNet classifier and uses its feature layers a
second time under another name; both names are one module here, as they were there.
"""

from __future__ import annotations

import torch
from torch import nn

from featflow.nodes.networks.layers import conv

# Expansion, channels, blocks and first stride of each group (Table 2 of the paper).
PLAN = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def unit(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution, batch norm and ReLU6."""
    return nn.Sequential(
        conv(inputs, outputs, kernel, stride, groups=groups),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """Widen (unless the expansion is 1), filter each channel, project linearly."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        width = inputs * expansion
        widen = [] if expansion == 1 else [unit(inputs, width)]
        self.conv = nn.Sequential(
            *widen,
            unit(width, width, 3, stride, groups=width),
            conv(width, outputs),
            nn.BatchNorm2d(outputs),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        y: torch.Tensor = self.conv(x)
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """The ImageNet classifier; featflow runs its features alone."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [unit(3, 32, 3, 2)]
        inputs = 32
        for expansion, channels, blocks, first_stride in PLAN:
            for block in range(blocks):
                stride = first_stride if block == 0 else 1
                layers.append(InvertedResidual(inputs, channels, expansion, stride))
                inputs = channels
        self.features = nn.Sequential(*layers, unit(inputs, 1280))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000))


class LinearUnit(nn.Module):
    """Convolution without padding, and batch norm."""

    def __init__(self, inputs: int, outputs: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) to (N, outputs, H - kernel + 1, W - kernel + 1)."""
        result: torch.Tensor = self.bn(self.conv(x))
        return result


class MobileNetLandmarks(nn.Module):
    """68 landmarks of a 224-pixel crop."""

    def __init__(self) -> None:
        super().__init__()
        self.pretrain_net = MobileNetV2()
        self.base_net = nn.Sequential(self.pretrain_net.features)
        self.linear7 = LinearUnit(1280, 1280, 7, groups=1280)
        self.linear1 = LinearUnit(1280, 136, 1, groups=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, 224, 224), ImageNet-normalised, to (N, 136): x and y in turn, 1 the side."""
        landmarks: torch.Tensor = self.linear1(self.linear7(self.base_net(x)))
        return landmarks.flatten(1)
