"""The improved ResNet-50 of ArcFace (Deng et al. 2019, arXiv:1801.07698).

The published checkpoint has its batch norms folded into the convolutions that precede them,
so only the norm at the head of each block, the last one and the one on the embedding remain.
"""

from __future__ import annotations

import torch
from torch import nn


class Block(nn.Module):
    """Batch norm, 3x3, PReLU, 3x3 (with the stride) and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, 1, 1)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, 1)
        self.downsample = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        y: torch.Tensor = self.conv2(self.prelu(self.conv1(self.bn1(x))))
        return y.add_(x if self.downsample is None else self.downsample(x))


def stage(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    """Blocks of one width; the first halves the map."""
    others = (Block(outputs, outputs, 1) for _ in range(blocks - 1))
    return nn.Sequential(Block(inputs, outputs, 2), *others)


class IResNet50(nn.Module):
    """Embedding of an aligned 112-pixel face."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1)
        self.prelu = nn.PReLU(64)
        self.layer1 = stage(64, 64, 3)
        self.layer2 = stage(64, 128, 4)
        self.layer3 = stage(128, 256, 14)
        self.layer4 = stage(256, 512, 3)
        self.bn2 = nn.BatchNorm2d(512)
        self.fc = nn.Linear(512 * 7 * 7, 512)
        self.features = nn.BatchNorm1d(512)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, 112, 112), RGB, -1 to 1, to embeddings (N, 512) of any length."""
        x = self.prelu(self.conv1(x))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        embedding: torch.Tensor = self.features(self.fc(self.bn2(x).flatten(1)))
        return embedding
