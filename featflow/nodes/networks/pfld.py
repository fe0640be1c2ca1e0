"""PFLD (Guo et al. 2019, arXiv:1902.10859) in its compressed, published form: 68 points."""

from __future__ import annotations

import torch
from torch import nn

from featflow.nodes.networks.layers import conv, conv_bn, pooled


class Bottleneck(nn.Module):
    """Widen, filter each channel, project linearly; a shortcut where asked."""

    def __init__(
        self, inputs: int, outputs: int, expansion: int, stride: int = 1, *, residual: bool = True
    ) -> None:
        super().__init__()
        width = inputs * expansion
        self.conv = nn.Sequential(
            conv(inputs, width),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            conv(width, width, 3, stride, groups=width),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            conv(width, outputs),
            nn.BatchNorm2d(outputs),
        )
        self.residual = residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        y: torch.Tensor = self.conv(x)
        return x + y if self.residual else y


class PFLD(nn.Module):
    """68 landmarks of a 112-pixel crop, from three scales."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = conv(3, 64, 3, 2)
        self.bn1 = nn.BatchNorm2d(64)
        self.dw_pool = conv(64, 64, 3, groups=64)
        self.dw_bn = nn.BatchNorm2d(64)
        self.conv1_extra = conv(64, 64)
        self.conv3_1 = Bottleneck(64, 64, 1, 2, residual=False)
        for block in range(2, 6):
            self.add_module(f"block3_{block}", Bottleneck(64, 64, 1))
        self.conv4_1 = Bottleneck(64, 128, 1, 2, residual=False)
        self.conv5_1 = Bottleneck(128, 128, 2, residual=False)
        for block in range(2, 7):
            self.add_module(f"block5_{block}", Bottleneck(128, 128, 2))
        self.conv6_1 = Bottleneck(128, 16, 1, residual=False)
        self.conv7 = conv_bn(16, 32, 3, 2, relu=True)
        self.conv8 = nn.Conv2d(32, 128, 7)
        # In the checkpoint, but the published forward pass never applies it.
        self.bn8 = nn.BatchNorm2d(128)
        self.fc = nn.Linear(176, 136)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, 112, 112), 0 to 1, to (N, 136): x and y in turn, 1 the crop's side."""
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.conv1_extra(self.dw_bn(self.dw_pool(x))))
        x = self.conv3_1(x)
        for block in range(2, 6):
            x = self.get_submodule(f"block3_{block}")(x)
        x = self.conv5_1(self.conv4_1(x))
        for block in range(2, 7):
            x = self.get_submodule(f"block5_{block}")(x)
        fine = self.conv6_1(x)
        middle = self.conv7(fine)
        coarse = torch.relu(self.conv8(middle)).flatten(1)
        landmarks: torch.Tensor = self.fc(torch.cat([pooled(fine), pooled(middle), coarse], 1))
        return landmarks
