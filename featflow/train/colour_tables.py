"""Shifting colours in L*a*b* through tables: what :mod:`featflow.train.colour` computes, faster.

Accurate to less than a grey level; without gradients. L*, a* and b* are linear in the curved X, Y
and Z (the CIE's f(X), f(Y), f(Z), here "roots"), so a shift of theirs is one affine map of roots.
Powers and selections cost most of a conversion; tables are read in a fraction of their time.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from featflow.train import colour

_LAST = (1 << 16) - 1
_LEAST, _MOST = -0.75, 1.75
"""Roots that any L* in 0..100 and a*, b* in -128..127 lead to, with room."""
_STEP = (_MOST - _LEAST) / _LAST

_TO_LAB = torch.tensor([[0.0, 116, 0], [500, -500, 0], [0, 200, -200]])
_LAB_AT_0 = torch.tensor([[-16.0], [0], [0]])
_TO_ROOTS = torch.tensor([[1 / 116, 1 / 500, 0], [1 / 116, 0, 0], [1 / 116, 0, -1 / 200]])


def roots_of(images: Tensor) -> Tensor:
    """Roots (N, 3, H * W) of (N, H, W, 3) uint8 sRGB."""
    light, root, _, _ = _tables()
    level = images.permute(0, 3, 1, 2).reshape(len(images), 3, -1).int()
    return _entries(root, _mixed("to_xyz", _entries(light, level)).int())


def shifted(roots: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    """Places (N, 3, P) in the tables of the roots whose L*a*b* are ``gain`` times it + ``bias``.

    Args:
        roots: (N, 3, P).
        gain: (N, 3) factors of L*, a* and b*.
        bias: (N, 3) what is added.
    """
    linear = _TO_ROOTS @ (gain[..., None] * _TO_LAB)
    offset = _TO_ROOTS @ (gain[..., None] * _LAB_AT_0 + bias[..., None] - _LAB_AT_0)
    return torch.baddbmm((offset - _LEAST) / _STEP, linear / _STEP, roots)


def lightness_of(places: Tensor) -> Tensor:
    """L* (N, P) at places (N, 3, P)."""
    return (places[:, 1] * _STEP + _LEAST) * 116 - 16


def lighten(places: Tensor, change: Tensor) -> Tensor:
    """Places with L* changed by (N, P); a* and b* stay."""
    return places + (change / (116 * _STEP))[:, None]


def rgb_of(places: Tensor) -> Tensor:
    """sRGB 0..1 (N, 3, P) at places, clipped; the places are spent."""
    _, _, cube, curve = _tables()
    xyz = _entries(cube, places.add_(0.5).clamp_(0, _LAST).int())
    return _entries(curve, _mixed("to_light", xyz).clamp_(0, _LAST).int())


def _mixed(matrix: str, values: Tensor) -> Tensor:
    """Values (N, 3, P) times a matrix, as places in a table of 0..1, to be rounded down."""
    linear = (_matrix(matrix) * _LAST).expand(len(values), 3, 3)
    return torch.baddbmm(torch.full((1, 3, 1), 0.5), linear, values)


def _entries(table: Tensor, places: Tensor) -> Tensor:
    return table.index_select(0, places.flatten()).reshape(places.shape)


@lru_cache(maxsize=1)
def _tables() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Light of a byte, root of an XYZ, XYZ of a root, sRGB of a light."""
    unit = torch.linspace(0, 1, _LAST + 1, dtype=torch.float64)
    roots = torch.linspace(_LEAST, _MOST, _LAST + 1, dtype=torch.float64)
    light = colour.srgb_to_linear(torch.arange(256, dtype=torch.float64) / 255)
    lightness = colour.xyz_to_lab(unit.expand(3, 1, -1))[0, 0]
    return (
        light.float(),
        ((lightness + 16) / 116).float(),
        colour.lab_to_xyz(_achromatic(roots))[0, 0].float(),
        colour.linear_to_srgb(unit).float(),
    )


def _achromatic(roots: Tensor) -> Tensor:
    """L*a*b* (3, 1, R) of greys whose XYZ have these roots."""
    return torch.stack([116 * roots - 16, 0 * roots, 0 * roots])[:, None]


@lru_cache(maxsize=2)
def _matrix(name: str) -> Tensor:
    """(3, 3) from light to XYZ, or back."""
    convert = colour.linear_to_xyz if name == "to_xyz" else colour.xyz_to_linear
    return convert(torch.eye(3, dtype=torch.float64)[..., None])[..., 0].float()
