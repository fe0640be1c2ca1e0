"""LDR-FLIP: the difference that a viewer sees when two pictures alternate."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from featflow.errors import ArrayError, OptionError
from featflow.train.colour import linear_to_xyz, srgb_to_linear, xyz_to_lab, xyz_to_linear
from featflow.train.losses.base import MapLoss, blur, filter_planes, safe_sqrt

COLOUR_EXPONENT, FEATURE_EXPONENT = 0.7, 0.5
SMALL_PART, SMALL_SHARE = 0.4, 0.95
"""Colour errors below this part of the largest take this share of the scale 0..1."""

FEATURE_WIDTH = 0.082
"""Width in degrees of the edges and points that a viewer is most sensitive to."""

# Each opponent channel's contrast sensitivity is a sum of Gaussians: (height, width) pairs.
_SENSITIVITY = (
    ((1.0, 0.0047),),
    ((1.0, 0.0053),),
    ((34.1, 0.04), (13.5, 0.025)),
)
_WIDEST = 0.04


class FLIP(MapLoss):
    """LDR-FLIP (Andersson et al. 2020, "FLIP: a difference evaluator for alternating images").

    Colour differences after the eye's contrast sensitivity (L*a*b* with the Hunt effect, HyAB
    distance), raised where edges or points differ. A pixel's value is in 0..1.

    Args:
        pixels_per_degree: how fine the viewer sees the picture; 67 is 0.7 m from a 0.7 m wide
            screen of 3840 pixels.
    """

    def __init__(self, pixels_per_degree: float = 67.0) -> None:
        super().__init__()
        if not pixels_per_degree > 0:
            raise OptionError(f"FLIP needs pixels_per_degree > 0, got {pixels_per_degree}")
        self._spatial = [_sensitivity(pairs, pixels_per_degree) for pairs in _SENSITIVITY]
        self._bell, self._edge, self._point = _detectors(pixels_per_degree)
        ends = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
        green, blue = _hunt(xyz_to_lab(linear_to_xyz(ends[..., None, None])))
        self._largest = float(_hyab(green[None], blue[None])) ** COLOUR_EXPONENT

    def error_map(self, prediction: Tensor, target: Tensor) -> Tensor:
        """FLIP of sRGB pictures (N, 3, H, W) in 0..1; values beyond are clipped."""
        if target.shape[1] != 3:
            raise ArrayError("FLIP", f"pictures have {target.shape[1]} channels", "needs RGB")
        one, other = (_opponent(each.clamp(0, 1)) for each in (prediction, target))
        colour = self._colour_difference(one, other)
        feature = self._feature_difference(one[:, :1], other[:, :1])
        positive = colour.clamp(min=1e-6)
        return torch.where(colour > 1e-6, positive ** (1 - feature), colour)

    def _colour_difference(self, one: Tensor, other: Tensor) -> Tensor:
        distance = _hyab(self._seen(one), self._seen(other))
        error = _power(distance, COLOUR_EXPONENT)
        knee = SMALL_PART * self._largest
        above = (error - knee) / (self._largest - knee) * (1 - SMALL_SHARE) + SMALL_SHARE
        return torch.where(error < knee, error * SMALL_SHARE / knee, above)

    def _seen(self, opponent: Tensor) -> Tensor:
        planes = [
            torch.stack([part * blur(plane, kernel, "replicate") for part, kernel in kernels]).sum(
                0
            )
            for plane, kernels in zip(torch.split(opponent, 1, 1), self._spatial, strict=True)
        ]
        light = xyz_to_linear(_from_opponent(torch.cat(planes, 1))).clamp(0, 1)
        return _hunt(xyz_to_lab(linear_to_xyz(light)))

    def _feature_difference(self, one: Tensor, other: Tensor) -> Tensor:
        one, other = (one + 16) / 116, (other + 16) / 116
        found = [
            (_magnitude(one, kernel, self._bell) - _magnitude(other, kernel, self._bell)).abs()
            for kernel in (self._edge, self._point)
        ]
        return _power(torch.maximum(*found) / math.sqrt(2), FEATURE_EXPONENT)


def _opponent(rgb: Tensor) -> Tensor:
    """Linear opponent colours Y, Cx, Cz of sRGB."""
    x, y, z = linear_to_xyz(srgb_to_linear(rgb)).unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def _from_opponent(opponent: Tensor) -> Tensor:
    lightness, red, blue = opponent.unbind(1)
    y = (lightness + 16) / 116
    return torch.stack([y + red / 500, y, y - blue / 200], 1)


def _hunt(lab: Tensor) -> Tensor:
    """The Hunt effect: colours of dark pixels look less colourful."""
    lightness = lab[:, :1]
    return torch.cat([lightness, 0.01 * lightness * lab[:, 1:]], 1)


def _hyab(one: Tensor, other: Tensor) -> Tensor:
    """Distance for large colour differences: city block in L*, Euclidean in a*, b*."""
    error = one - other
    chroma = safe_sqrt(error[:, 1:].square().sum(1, keepdim=True), 1e-12)
    return error[:, :1].abs() + chroma


def _power(value: Tensor, exponent: float, knee: float = 1e-6) -> Tensor:
    """``value ** exponent``, a straight line below ``knee`` so that its slope is finite at 0."""
    line = value * knee ** (exponent - 1)
    return torch.where(value > knee, value.clamp(min=knee) ** exponent, line)


def _sensitivity(
    pairs: tuple[tuple[float, float], ...], pixels_per_degree: float
) -> list[tuple[float, Tensor]]:
    """One channel's contrast sensitivity: shares and (K,) Gaussians whose squares it sums."""
    radius = math.ceil(3 * math.sqrt(_WIDEST / (2 * math.pi**2)) * pixels_per_degree)
    position = torch.arange(-radius, radius + 1, dtype=torch.float64) / pixels_per_degree
    bells = [torch.exp(-(math.pi**2) * position**2 / width) for _, width in pairs]
    volumes = [
        height * math.sqrt(math.pi / width) * float(bell.sum()) ** 2
        for (height, width), bell in zip(pairs, bells, strict=True)
    ]
    return [
        (volume / sum(volumes), bell / bell.sum())
        for volume, bell in zip(volumes, bells, strict=True)
    ]


def _detectors(pixels_per_degree: float) -> tuple[Tensor, Tensor, Tensor]:
    """A Gaussian, and what to lay across it to find edges and points, each (K,)."""
    sigma = 0.5 * FEATURE_WIDTH * pixels_per_degree
    radius = math.ceil(3 * sigma)
    position = torch.arange(-radius, radius + 1, dtype=torch.float64)
    bell = torch.exp(-(position**2) / (2 * sigma**2))
    edge, point = -position * bell, (position**2 / sigma**2 - 1) * bell
    return bell / bell.sum(), _balanced(edge), _balanced(point)


def _balanced(kernel: Tensor) -> Tensor:
    """Positive and negative parts that each sum to 1."""
    above, below = kernel.clamp(min=0), kernel.clamp(max=0)
    return above / above.sum() - below / below.sum()


def _magnitude(lightness: Tensor, across: Tensor, along: Tensor) -> Tensor:
    """How strongly edges or points show in any direction."""
    squares = torch.zeros_like(lightness)
    for horizontal, vertical in ((across, along), (along, across)):
        smooth = filter_planes(lightness, horizontal[None], "replicate")
        squares = squares + filter_planes(smooth, vertical[:, None], "replicate").square()
    return safe_sqrt(squares, 1e-14)
