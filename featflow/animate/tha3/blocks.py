"""Building blocks of the networks: convolutions, and three shapes of encoder and decoder.

Names of attributes are those of the published state dicts.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Style:
    """How blocks are made.

    Attributes:
        separable: convolutions as a depthwise and a pointwise one.
        slope: of the leaky rectifier below 0; 0 is the plain rectifier.
    """

    separable: bool
    slope: float = 0.0

    def activation(self) -> nn.Module:
        """The non-linearity."""
        return nn.LeakyReLU(self.slope) if self.slope else nn.ReLU()

    def conv(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
        """A convolution that keeps the size, or halves it with kernel 4 and stride 2."""
        padding = (kernel - 1) // 2
        if not self.separable:
            return [nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)]
        depthwise = nn.Conv2d(inputs, inputs, kernel, stride, padding, groups=inputs, bias=False)
        return [depthwise, nn.Conv2d(inputs, outputs, 1, bias=False)]

    def up(self, inputs: int, outputs: int) -> list[nn.Module]:
        """A transposed convolution that doubles the size."""
        if not self.separable:
            return [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)]
        depthwise = nn.ConvTranspose2d(inputs, inputs, 4, 2, 1, groups=inputs, bias=False)
        return [depthwise, nn.Conv2d(inputs, outputs, 1, bias=False)]

    def block(self, convolution: list[nn.Module], outputs: int) -> nn.Sequential:
        """Convolution, instance norm, non-linearity."""
        norm = nn.InstanceNorm2d(outputs, affine=True)
        return nn.Sequential(*convolution, norm, self.activation())

    def residual(self, channels: int) -> Residual:
        """Two convolutions added to their input."""
        return Residual(channels, self)


class Residual(nn.Module):
    """Two convolutions added to their input."""

    def __init__(self, channels: int, style: Style) -> None:
        super().__init__()
        first, second = (style.conv(channels, channels, 3) for _ in range(2))
        layers = [
            _joined(first),
            nn.InstanceNorm2d(channels, affine=True),
            style.activation(),
            _joined(second),
            nn.InstanceNorm2d(channels, affine=True),
        ]
        self.resnet_path = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as ``x``."""
        path: Tensor = self.resnet_path(x)
        return x + path


def _joined(convolution: list[nn.Module]) -> nn.Module:
    return convolution[0] if len(convolution) == 1 else nn.Sequential(*convolution)


def encoder(style: Style, inputs: int, widths: list[int], kernel: int) -> nn.ModuleList:
    """A block at full size and one for each halving."""
    blocks = [style.block(style.conv(inputs, widths[0], kernel), widths[0])]
    # The published standard networks halve with a plain rectifier, leaky or not elsewhere.
    halving = style if style.separable else Style(separable=False)
    for narrow, wide in pairwise(widths):
        blocks.append(halving.block(style.conv(narrow, wide, 4, 2), wide))
    return nn.ModuleList(blocks)


def planes(pose: Tensor, like: Tensor) -> Tensor:
    """A pose (N, P) as constant planes (N, P, h, w) of the size of ``like``."""
    return pose[:, :, None, None].expand(-1, -1, *like.shape[2:])


class PoserBody(nn.Module):
    """Encoder and decoder that hear of the pose at the bottleneck.

    Args:
        style: how blocks are made.
        inputs: channels of the image.
        pose_size: pose parameters, 0 for none.
    """

    def __init__(self, style: Style, inputs: int, pose_size: int) -> None:
        super().__init__()
        widths = [64, 128, 256, 512]
        self.downsample_blocks = encoder(style, inputs, widths, 3)
        first = style.block(style.conv(512 + pose_size, 512, 3), 512)
        self.bottleneck_blocks = nn.ModuleList([first, *(style.residual(512) for _ in range(5))])
        self.upsample_blocks = nn.ModuleList(
            style.block(style.up(wide, narrow), narrow)
            for wide, narrow in ((512, 256), (256, 128), (128, 64))
        )

    def encode(self, image: Tensor) -> Tensor:
        """What the image alone decides: (N, 512, h / 8, w / 8)."""
        for block in self.downsample_blocks:
            image = block(image)
        return image

    def decode(self, code: Tensor, pose: Tensor | None) -> Tensor:
        """Feature (N, 64, h, w) of a code and a pose."""
        if pose is not None:
            code = torch.cat([code, planes(pose, code)], 1)
        for block in (*self.bottleneck_blocks, *self.upsample_blocks):
            code = block(code)
        return code

    def forward(self, image: Tensor, pose: Tensor | None = None) -> Tensor:
        """Feature (N, 64, h, w)."""
        return self.decode(self.encode(image), pose)


class ResizeBody(nn.Module):
    """Encoder and decoder that enlarges by repeating pixels."""

    def __init__(self, style: Style, inputs: int) -> None:
        super().__init__()
        self.downsample_blocks = encoder(style, inputs, [64, 128, 256, 512], 7)
        self.bottleneck_blocks = nn.ModuleList(style.residual(512) for _ in range(6))
        self.upsample_blocks = nn.ModuleList(
            nn.Sequential(
                nn.Upsample(scale_factor=2), style.block(style.conv(wide, narrow, 3), narrow)
            )
            for wide, narrow in ((512, 256), (256, 128), (128, 64))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Feature (N, 64, h, w)."""
        for block in (*self.downsample_blocks, *self.bottleneck_blocks, *self.upsample_blocks):
            x = block(x)
        return x


class UNetBody(nn.Module):
    """Encoder and decoder with connections across."""

    def __init__(self, style: Style, inputs: int) -> None:
        super().__init__()
        self.downsample_blocks = encoder(style, inputs, [32, 64, 128, 256], 3)
        self.bottleneck_blocks = nn.ModuleList(style.residual(256) for _ in range(6))
        self.upsample_blocks = nn.ModuleList(
            style.block(style.conv(wide + narrow, narrow, 3), narrow)
            for wide, narrow in ((256, 128), (128, 64), (64, 32))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Feature (N, 32, h, w)."""
        across = []
        for block in self.downsample_blocks:
            x = block(x)
            across.append(x)
        for block in self.bottleneck_blocks:
            x = block(x)
        for block, other in zip(self.upsample_blocks, across[-2::-1], strict=True):
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, other], 1))
        return x


def alpha_head(inputs: int, outputs: int = 1) -> nn.Sequential:
    """Convolution to 0..1."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.Sigmoid())


def colour_head(inputs: int) -> nn.Sequential:
    """Convolution to four channels in -1..1."""
    return nn.Sequential(nn.Conv2d(inputs, 4, 3, padding=1), nn.Tanh())


def grid_head(inputs: int) -> nn.Conv2d:
    """Convolution to a change of the sampling grid."""
    return nn.Conv2d(inputs, 2, 3, padding=1, bias=False)


def warped(image: Tensor, change: Tensor) -> Tensor:
    """Read an image at the identity grid plus a change (N, 2, h, w), edges repeated."""
    n, _, height, width = image.shape
    # Positions among 512 pixels do not fit float16: warps are always float32.
    identity = torch.eye(2, 3, device=change.device).expand(n, 2, 3)
    grid = functional.affine_grid(identity, [n, 2, height, width], align_corners=False)
    read = functional.grid_sample(
        image.float(),
        grid + change.permute(0, 2, 3, 1).float(),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return read.to(image.dtype)


def mixed(alpha: Tensor, over: Tensor, under: Tensor) -> Tensor:
    """``alpha`` parts of one image and the rest of the other."""
    return over * alpha + under * (1 - alpha)


def mixed_rgb(alpha: Tensor, over: Tensor, under: Tensor) -> Tensor:
    """As :func:`mixed`, but alpha (the fourth channel) stays that of ``under``."""
    return torch.cat([mixed(alpha, over[:, :3], under[:, :3]), under[:, 3:4]], 1)
