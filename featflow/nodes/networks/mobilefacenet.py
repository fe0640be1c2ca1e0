"""MobileFaceNet (Chen et al. 2018, arXiv:1804.07573) with a 68-point head."""

from __future__ import annotations

import torch
from torch import nn

from featflow.nodes.networks.layers import conv


class ConvUnit(nn.Module):
    """Convolution, batch norm and, where asked, a PReLU with one slope a channel."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        groups: int = 1,
        pad: bool = True,
        prelu: bool = True,
    ) -> None:
        super().__init__()
        self.conv = conv(inputs, outputs, kernel, stride, groups=groups)
        if not pad:
            self.conv.padding = (0, 0)
        self.bn = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs) if prelu else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) to (N, outputs, H', W')."""
        result: torch.Tensor = self.prelu(self.bn(self.conv(x)))
        return result


class InvertedBottleneck(nn.Module):
    """Widen, filter each channel, project back; the projection is linear."""

    def __init__(self, inputs: int, outputs: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = ConvUnit(inputs, width)
        self.conv_dw = ConvUnit(width, width, 3, stride, groups=width)
        self.project = ConvUnit(width, outputs, prelu=False)
        self.residual = stride == 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        y: torch.Tensor = self.project(self.conv_dw(self.conv(x)))
        return x + y if self.residual else y


class Repeated(nn.Module):
    """Residual bottlenecks of one shape, one after another, under the key ``model``."""

    def __init__(self, channels: int, width: int, times: int) -> None:
        super().__init__()
        blocks = (InvertedBottleneck(channels, channels, width) for _ in range(times))
        self.model = nn.Sequential(*blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Keeps the shape."""
        result: torch.Tensor = self.model(x)
        return result


class GlobalDepthwiseHead(nn.Module):
    """A learned weighted mean over the 7x7 map, then a linear layer."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.conv_6_dw = ConvUnit(channels, channels, 7, groups=channels, pad=False, prelu=False)
        self.linear = nn.Linear(channels, outputs, bias=False)
        self.bn = nn.BatchNorm1d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels, 7, 7) to (N, outputs)."""
        result: torch.Tensor = self.bn(self.linear(self.conv_6_dw(x).flatten(1)))
        return result


class MobileFaceNet(nn.Module):
    """68 landmarks of a 112-pixel crop."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = ConvUnit(3, 64, 3, 2)
        self.conv2_dw = ConvUnit(64, 64, 3, groups=64)
        self.conv_23 = InvertedBottleneck(64, 64, 128, 2)
        self.conv_3 = Repeated(64, 128, 4)
        self.conv_34 = InvertedBottleneck(64, 128, 256, 2)
        self.conv_4 = Repeated(128, 256, 6)
        self.conv_45 = InvertedBottleneck(128, 128, 512, 2)
        self.conv_5 = Repeated(128, 256, 2)
        self.conv_6_sep = ConvUnit(128, 512)
        self.output_layer = GlobalDepthwiseHead(512, 136)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Locate 68 points.

        Args:
            x: (N, 3, 112, 112), 0 to 1.

        Returns:
            (N, 136) x and y in turn, 1 being the crop's side, and the features before the
            head, (N, 512, 7, 7).
        """
        x = self.conv2_dw(self.conv1(x))
        x = self.conv_3(self.conv_23(x))
        x = self.conv_4(self.conv_34(x))
        x = self.conv_5(self.conv_45(x))
        features = self.conv_6_sep(x)
        return self.output_layer(features), features
