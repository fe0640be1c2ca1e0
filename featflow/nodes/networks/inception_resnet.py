"""Inception-ResNet v1 (Szegedy et al. 2017, arXiv:1602.07261) as FaceNet uses it.

Embedding: Schroff et al. 2015, arXiv:1503.03832. All batch norms have eps 0.001, and the
residual branches are scaled by 0.17, 0.10 and 0.20.
"""

from __future__ import annotations

import torch
from torch import nn

Size = int | tuple[int, int]
EPS = 1e-3


class ConvUnit(nn.Module):
    """Convolution, batch norm and ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: Size, stride: int = 1, padding: Size = 0
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=EPS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) to (N, outputs, H', W')."""
        return torch.relu_(self.bn(self.conv(x)))


class Residual(nn.Module):
    """Parallel branches, joined by a 1x1 convolution, scaled and added to the input."""

    def __init__(
        self, channels: int, width: int, branches: list[nn.Module], scale: float, relu: bool = True
    ) -> None:
        super().__init__()
        self.scale, self.relu, self.branches = scale, relu, len(branches)
        for number, branch in enumerate(branches):
            self.add_module(f"branch{number}", branch)
        self.conv2d = nn.Conv2d(width, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Keeps the shape."""
        joined = torch.cat([self.get_submodule(f"branch{b}")(x) for b in range(self.branches)], 1)
        y = self.conv2d(joined).mul_(self.scale).add_(x)
        return torch.relu_(y) if self.relu else y


class Reduction(nn.Module):
    """Parallel branches that halve the map, joined with a max pool of the input."""

    def __init__(self, branches: list[nn.Module]) -> None:
        super().__init__()
        self.branches = len(branches)
        for number, branch in enumerate(branches):
            self.add_module(f"branch{number}", branch)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to (N, C', (H - 1) // 2, (W - 1) // 2)."""
        parts = [self.get_submodule(f"branch{b}")(x) for b in range(self.branches)]
        return torch.cat([*parts, nn.functional.max_pool2d(x, 3, 2)], 1)


def block35() -> Residual:
    """Residual block of the 35x35 grid (17x17 for a 160-pixel face)."""
    branches: list[nn.Module] = [
        ConvUnit(256, 32, 1),
        nn.Sequential(ConvUnit(256, 32, 1), ConvUnit(32, 32, 3, padding=1)),
        nn.Sequential(
            ConvUnit(256, 32, 1),
            ConvUnit(32, 32, 3, padding=1),
            ConvUnit(32, 32, 3, padding=1),
        ),
    ]
    return Residual(256, 96, branches, 0.17)


def split_block(
    channels: int, width: int, kernel: int, scale: float, relu: bool = True
) -> Residual:
    """Residual block whose square kernel is split into a row and a column."""
    half = kernel // 2
    branches: list[nn.Module] = [
        ConvUnit(channels, width, 1),
        nn.Sequential(
            ConvUnit(channels, width, 1),
            ConvUnit(width, width, (1, kernel), padding=(0, half)),
            ConvUnit(width, width, (kernel, 1), padding=(half, 0)),
        ),
    ]
    return Residual(channels, 2 * width, branches, scale, relu)


def reduction_a() -> Reduction:
    """256 to 896 channels."""
    return Reduction(
        [
            ConvUnit(256, 384, 3, 2),
            nn.Sequential(
                ConvUnit(256, 192, 1), ConvUnit(192, 192, 3, padding=1), ConvUnit(192, 256, 3, 2)
            ),
        ]
    )


def reduction_b() -> Reduction:
    """896 to 1792 channels."""
    return Reduction(
        [
            nn.Sequential(ConvUnit(896, 256, 1), ConvUnit(256, 384, 3, 2)),
            nn.Sequential(ConvUnit(896, 256, 1), ConvUnit(256, 256, 3, 2)),
            nn.Sequential(
                ConvUnit(896, 256, 1), ConvUnit(256, 256, 3, padding=1), ConvUnit(256, 256, 3, 2)
            ),
        ]
    )


class InceptionResNetV1(nn.Module):
    """Embedding of a 160-pixel face."""

    def __init__(self) -> None:
        super().__init__()
        self.conv2d_1a = ConvUnit(3, 32, 3, 2)
        self.conv2d_2a = ConvUnit(32, 32, 3)
        self.conv2d_2b = ConvUnit(32, 64, 3, padding=1)
        self.conv2d_3b = ConvUnit(64, 80, 1)
        self.conv2d_4a = ConvUnit(80, 192, 3)
        self.conv2d_4b = ConvUnit(192, 256, 3, 2)
        self.repeat_1 = nn.Sequential(*(block35() for _ in range(5)))
        self.mixed_6a = reduction_a()
        self.repeat_2 = nn.Sequential(*(split_block(896, 128, 7, 0.10) for _ in range(10)))
        self.mixed_7a = reduction_b()
        self.repeat_3 = nn.Sequential(*(split_block(1792, 192, 3, 0.20) for _ in range(5)))
        self.block8 = split_block(1792, 192, 3, 1.0, relu=False)
        self.last_linear = nn.Linear(1792, 512, bias=False)
        self.last_bn = nn.BatchNorm1d(512, eps=EPS)
        # The training classifier (8,631 people of VGGFace2) travels with the checkpoint.
        self.logits = nn.Linear(512, 8631)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W), about -1 to 1, to embeddings (N, 512) of length 1."""
        x = self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(x)))
        x = self.conv2d_3b(nn.functional.max_pool2d(x, 3, 2))
        x = self.conv2d_4b(self.conv2d_4a(x))
        x = self.mixed_6a(self.repeat_1(x))
        x = self.mixed_7a(self.repeat_2(x))
        x = self.block8(self.repeat_3(x))
        return nn.functional.normalize(self.last_bn(self.last_linear(x.mean((2, 3)))))
