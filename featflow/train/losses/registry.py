"""Losses of pictures by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import MappingProxyType
from typing import Any

from featflow.errors import OptionError
from featflow.train.losses.base import ImageLoss
from featflow.train.losses.flip import FLIP
from featflow.train.losses.perceptual import LPIPS
from featflow.train.losses.pixel import (
    MAE,
    MSE,
    GeneralRobust,
    GradientDifference,
    LInfinity,
    LogCosh,
    SmoothL1,
)
from featflow.train.losses.spectral import FocalFrequency, LaplacianPyramid
from featflow.train.losses.structural import GMSD, SSIM, MultiScaleSSIM

IMAGE_LOSSES: MappingProxyType[str, Callable[..., ImageLoss]] = MappingProxyType(
    {
        "mae": MAE,
        "mse": MSE,
        "smooth_l1": SmoothL1,
        "log_cosh": LogCosh,
        "general_robust": GeneralRobust,
        "ssim": SSIM,
        "ms_ssim": MultiScaleSSIM,
        "gmsd": GMSD,
        "gradient_difference": GradientDifference,
        "l_infinity": LInfinity,
        "laplacian_pyramid": LaplacianPyramid,
        "focal_frequency": FocalFrequency,
        "flip": FLIP,
        "lpips_alex": partial(LPIPS, "alex"),
        "lpips_vgg16": partial(LPIPS, "vgg16"),
        "lpips_squeeze": partial(LPIPS, "squeeze"),
    }
)
"""What makes each loss of two pictures."""


def make_loss(name: str, **options: Any) -> ImageLoss:
    """The loss of pictures of that name.

    Raises:
        OptionError: the name or an option is unknown.
    """
    if name not in IMAGE_LOSSES:
        raise OptionError(f"no loss is called {name!r}; known losses: {', '.join(IMAGE_LOSSES)}")
    try:
        return IMAGE_LOSSES[name](**options)
    except TypeError as error:
        raise OptionError(f"loss {name!r}: {error}") from error
