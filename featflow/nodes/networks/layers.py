"""Small layers that several published networks share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

NormFactory = Callable[[int], nn.Module]


def conv(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, *, groups: int = 1
) -> nn.Conv2d:
    """A convolution without bias that keeps the picture's size at stride 1 (odd kernels)."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)


def conv_bn(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, *, relu: bool = False
) -> nn.Sequential:
    """Convolution and batch norm, keys ``0`` and ``1``, and a ReLU where asked."""
    layers: list[nn.Module] = [conv(inputs, outputs, kernel, stride), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if relu else nn.Sequential(*layers)


class FrozenBatchNorm2d(nn.Module):
    """Batch norm whose statistics and affine part are constants (no counter in the state dict).

    Detection networks that are fine-tuned with tiny batches keep the backbone's statistics
    from its pre-training (Ren et al. 2015, and every detector of that family since).
    """

    weight: torch.Tensor
    bias: torch.Tensor
    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise (N, C, H, W) with the stored statistics."""
        return nn.functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
        )


def pooled(x: torch.Tensor) -> torch.Tensor:
    """Mean over the picture, (N, C, H, W) to (N, C)."""
    return x.mean((2, 3))
