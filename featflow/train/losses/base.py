"""What every loss of pictures shares: shapes, masks and regions that count more.

Pictures are (N, C, H, W) floats, 0..1 where a loss says so; masks are (N, 1, H, W), 0..1. A
loss of pictures returns one value a picture, (N,).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featflow.errors import ArrayError

Region = tuple[float, Tensor]
"""How many times a region counts, and where it lies: a multiplier and an (N, 1, H, W) mask."""


class ImageLoss(nn.Module, ABC):
    """A loss between two pictures that is 0 where they are equal.

    Attributes:
        smallest: least side in pixels of the pictures that it can compare.
    """

    smallest: int = 1

    def forward(
        self,
        prediction: Tensor,
        target: Tensor,
        mask: Tensor | None = None,
        regions: Sequence[Region] = (),
    ) -> Tensor:
        """Loss of each picture, (N,).

        Args:
            prediction: (N, C, H, W).
            target: the same shape.
            mask: where to compare; the mean is over the mask. None compares everywhere, and a
                picture whose mask is empty costs nothing.
            regions: disjoint parts that count more than once.

        Raises:
            ArrayError: the shapes do not fit, or the pictures are too small for this loss.
        """
        check_images(prediction, target, self.smallest, type(self).__name__)
        for part in (mask, *(region for _, region in regions)):
            check_mask(part, target)
        return self._value(prediction, target, mask, regions)

    @abstractmethod
    def _value(
        self, prediction: Tensor, target: Tensor, mask: Tensor | None, regions: Sequence[Region]
    ) -> Tensor:
        """The loss of pictures and masks that were checked."""


class MapLoss(ImageLoss):
    """A loss that has a value at each pixel; a region's multiplier scales the pixels in it."""

    @abstractmethod
    def error_map(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Loss of each pixel, mean over the channels, (N, 1, H, W)."""

    def _value(
        self, prediction: Tensor, target: Tensor, mask: Tensor | None, regions: Sequence[Region]
    ) -> Tensor:
        errors = self.error_map(prediction, target)
        for times, region in regions:
            # Regions are disjoint, so no pixel is scaled twice.
            errors = errors * (1 + (times - 1) * region)
        return masked_mean(errors, mask).squeeze(1)


class WholeLoss(ImageLoss):
    """A loss of a whole picture: what it has in a region is added once more for each time.

    Attributes:
        is_mean: the value is a mean over pixels, so that a region counts by its area.
    """

    is_mean: ClassVar[bool]

    @abstractmethod
    def whole(self, prediction: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
        """Loss within the mask, (N,)."""

    def _value(
        self, prediction: Tensor, target: Tensor, mask: Tensor | None, regions: Sequence[Region]
    ) -> Tensor:
        total = self.whole(prediction, target, mask)
        for times, region in regions:
            seen = region if mask is None else region * mask
            added = self.whole(prediction, target, seen)
            if self.is_mean:
                added = added * masked_mean(region, mask).squeeze(1)
            total = total + (times - 1) * added
        return total


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over the mask of (N, C, H, W) values, (N, C); 0 where the mask is empty."""
    if mask is None:
        return values.mean((-2, -1))
    area = mask.sum((-2, -1))
    total = (values * mask).sum((-2, -1))
    return torch.where(area > 0, total / torch.where(area > 0, area, 1), torch.zeros_like(total))


def check_images(prediction: Tensor, target: Tensor, smallest: int, name: str) -> None:
    """Raise :class:`ArrayError` unless both are (N, C, H, W) floats of one shape."""
    shapes = f"{tuple(prediction.shape)} and {tuple(target.shape)}"
    if prediction.shape != target.shape or target.ndim != 4:
        raise ArrayError(name, f"pictures are {shapes}", "both must be one (N, C, H, W)")
    if not (prediction.is_floating_point() and target.is_floating_point()):
        raise ArrayError(name, "pictures must be floats", "divide uint8 by 255")
    if min(target.shape[-2:]) < smallest:
        raise ArrayError(name, f"pictures are {shapes}", f"needs {smallest} pixels or more a side")


def check_mask(mask: Tensor | None, images: Tensor) -> None:
    """Raise :class:`ArrayError` unless the mask is (N, 1, H, W) for these pictures."""
    wanted = (images.shape[0], 1, *images.shape[-2:])
    if mask is not None and tuple(mask.shape) != wanted:
        raise ArrayError("mask", f"is {tuple(mask.shape)}", f"must be {wanted}")


def gaussian(size: int, sigma: float) -> Tensor:
    """Samples of a Gaussian that sum to 1, (size,) float64."""
    position = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    weight = torch.exp(-(position**2) / (2 * sigma**2))
    return weight / weight.sum()


def filter_planes(images: Tensor, kernel: Tensor, padding: str) -> Tensor:
    """Correlate each channel with one (K, L) kernel; the size is kept.

    Args:
        images: (N, C, H, W).
        kernel: odd sides.
        padding: ``reflect`` (without the edge pixel) or ``replicate``.
    """
    planes = images.reshape(-1, 1, *images.shape[-2:])
    high, wide = kernel.shape[0] // 2, kernel.shape[1] // 2
    padded = F.pad(planes, (wide, wide, high, high), mode=padding)
    out = F.conv2d(padded, kernel.to(images)[None, None])
    return out.reshape(images.shape)


def blur(images: Tensor, kernel: Tensor, padding: str) -> Tensor:
    """Correlate each channel with the outer product of a (K,) kernel with itself."""
    return filter_planes(filter_planes(images, kernel[None], padding), kernel[:, None], padding)


def safe_sqrt(value: Tensor, eps: float) -> Tensor:
    """Square root of values >= 0 that is 0 at 0 and has a finite slope there."""
    return torch.sqrt(value + eps) - math.sqrt(eps)
