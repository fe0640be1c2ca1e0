"""Layers that featflow's own small networks are made of, and batch-norm folding."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvNorm(nn.Sequential):
    """Convolution, batch norm and (unless told otherwise) ReLU."""

    def __init__(
        self,
        inside: int,
        outside: int,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
        relu: bool = True,
    ) -> None:
        super().__init__(
            nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outside),
            *([nn.ReLU(inplace=True)] if relu else []),
        )


class Residual(nn.Module):
    """Two 3x3 convolutions added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels)
        self.second = ConvNorm(channels, channels, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return F.relu(x + self.second(self.first(x)), inplace=True)


class Separable(nn.Sequential):
    """A 3x3 depthwise and a 1x1 convolution: a cheap 3x3 (Howard et al. 2017)."""

    def __init__(self, inside: int, outside: int, stride: int = 1) -> None:
        super().__init__(
            ConvNorm(inside, inside, stride=stride, groups=inside),
            ConvNorm(inside, outside, kernel=1),
        )


def mirrored_passes(
    model: nn.Module, crops: Tensor, *rest: Tensor
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """What a network says of crops, and of their mirror images with the other inputs unchanged.

    Two passes are faster than one of twice the size. But a single picture is computed by another
    path, which rounds differently; it goes together with its mirror image, so that rows do not
    depend on the size of the batch.

    Args:
        model: gives a tuple of tensors with a row a crop.
        crops: (N, C, H, W).
        rest: other inputs, (N, ...).
    """
    if len(crops) != 1:
        return tuple(model(crops, *rest)), tuple(model(crops.flip(-1), *rest))
    both = model(torch.cat([crops, crops.flip(-1)]), *(torch.cat([each, each]) for each in rest))
    return tuple(each[:1] for each in both), tuple(each[1:] for each in both)


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """Merge every batch norm into the convolution before it, in place; outputs stay equal.

    Args:
        model: a network in evaluation mode whose batch norms stand in :class:`ConvNorm`.
    """
    for module in model.modules():
        if isinstance(module, ConvNorm) and isinstance(module[1], nn.BatchNorm2d):
            conv, norm = module[0], module[1]
            assert isinstance(conv, nn.Conv2d)  # noqa: S101 - for the type checker
            module[0] = nn.utils.fusion.fuse_conv_bn_eval(conv.eval(), norm.eval())
            module[1] = nn.Identity().eval()
    return model


def channels_last(model: nn.Module) -> nn.Module:
    """The model with its weights laid out as CPU convolutions like them, in place."""
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def for_inference(model: nn.Module, device: torch.device) -> nn.Module:
    """Evaluation mode, folded, channels-last, no gradients, on ``device``."""
    return channels_last(fold_batch_norm(model.eval()).requires_grad_(False).to(device))
