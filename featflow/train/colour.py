"""Colour spaces in torch: sRGB, linear light, XYZ and L*a*b*, on (..., 3, H, W) floats.

sRGB is in 0..1 (IEC 61966-2-1). XYZ is relative to the D65 white, so that white is 1, 1, 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

_TO_XYZ = torch.tensor(
    [
        [0.41239079926595934, 0.357584339383878, 0.1804807884018343],
        [0.21263900587151027, 0.715168678767756, 0.07219231536073371],
        [0.01933081871559182, 0.11919477979462598, 0.9505321522496607],
    ],
    dtype=torch.float64,
)
_RELATIVE = _TO_XYZ / _TO_XYZ.sum(1, keepdim=True)
_KNEE = 6 / 29


def srgb_to_linear(rgb: Tensor) -> Tensor:
    """Linear light of sRGB values."""
    curve = ((rgb.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(rgb <= 0.04045, rgb / 12.92, curve)


def linear_to_srgb(light: Tensor) -> Tensor:
    """sRGB values of linear light."""
    curve = 1.055 * light.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(light <= 0.0031308, light * 12.92, curve)


def linear_to_xyz(light: Tensor) -> Tensor:
    """XYZ relative to white of linear light."""
    return _mix(_RELATIVE, light)


def xyz_to_linear(xyz: Tensor) -> Tensor:
    """Linear light of XYZ relative to white."""
    return _mix(torch.linalg.inv(_RELATIVE), xyz)


def xyz_to_lab(xyz: Tensor) -> Tensor:
    """CIE 1976 L*a*b* (L* 0..100) of XYZ relative to white."""
    root = xyz.clamp(min=_KNEE**3) ** (1 / 3)
    f = torch.where(xyz > _KNEE**3, root, xyz / (3 * _KNEE**2) + 4 / 29)
    x, y, z = f.unbind(-3)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -3)


def lab_to_xyz(lab: Tensor) -> Tensor:
    """XYZ relative to white of L*a*b*."""
    lightness, a, b = lab.unbind(-3)
    y = (lightness + 16) / 116
    f = torch.stack([y + a / 500, y, y - b / 200], -3)
    return torch.where(f > _KNEE, f**3, 3 * _KNEE**2 * (f - 4 / 29))


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """L*a*b* of sRGB values."""
    return xyz_to_lab(linear_to_xyz(srgb_to_linear(rgb)))


def lab_to_rgb(lab: Tensor) -> Tensor:
    """sRGB values of L*a*b*, clipped to 0..1."""
    return linear_to_srgb(xyz_to_linear(lab_to_xyz(lab)).clamp(0, 1))


def _mix(matrix: Tensor, channels: Tensor) -> Tensor:
    return torch.einsum("ij,...jhw->...ihw", matrix.to(channels), channels)
