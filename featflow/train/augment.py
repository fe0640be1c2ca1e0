"""Augmentation of face crops: colour, affine, mirror, warps; whole batches at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featflow.errors import ArrayError, OptionError
from featflow.geometry.landmarks import MIRROR_68
from featflow.train import colour_tables, warping
from featflow.train.clahe import clahe


@dataclass(frozen=True, slots=True)
class AugmentOptions:
    """How crops are changed. Make it with :meth:`from_config`.

    Attributes:
        size: side of the crops in pixels.
        lightness: largest change of L*: 0.3 goes up to 30 % of the way to white or to black.
        colour: the same for a* and b*.
        clahe_chance: part of the pictures whose contrast is equalised.
        clahe_clip: how strongly, see :func:`featflow.train.clahe.clahe`.
        clahe_tiles: fewest tiles along a side.
        clahe_more: up to this many times half of ``clahe_tiles`` are added.
        rotation: largest turn in degrees.
        zoom: largest change of size: 0.05 gives 0.95..1.05.
        shift: largest shift in pixels.
        flip: part of the pictures that are mirrored.
        warp: standard deviation in pixels of the nodes of the random warp.
        warp_cells: cells along a side of the random warp.
        landmark_noise: standard deviation in pixels of landmarks that are warped towards.
    """

    size: int
    lightness: float
    colour: float
    clahe_chance: float
    clahe_clip: float
    clahe_tiles: int
    clahe_more: int
    rotation: float
    zoom: float
    shift: float
    flip: float
    warp: float
    warp_cells: int
    landmark_noise: float

    @classmethod
    def from_config(cls, size: int, config: Mapping[str, Any] | None = None) -> AugmentOptions:
        """Defaults for crops of ``size`` pixels, and what a recipe says otherwise.

        Raises:
            OptionError: a key is unknown, or a value cannot be used; the message names it.
        """
        values = {
            "size": size,
            "lightness": 0.3,
            "colour": 0.08,
            "clahe_chance": 0.5,
            "clahe_clip": 2.0,
            "clahe_tiles": max(2, size // 128),
            "clahe_more": 4,
            "rotation": 10.0,
            "zoom": 0.05,
            "shift": 0.05 * size,
            "flip": 0.5,
            "warp": 5 / 256 * size,
            "warp_cells": 4,
            "landmark_noise": 2 / 256 * size,
        }
        unknown = sorted(set(config or {}) - set(values) | {"size"} & set(config or {}))
        if unknown:
            raise OptionError(f"augmentation has no {unknown}; known: {sorted(values)[:-1]}")
        return cls(**{**values, **(config or {})})

    def __post_init__(self) -> None:
        whole = {"size": 8, "clahe_tiles": 1, "clahe_more": 0, "warp_cells": 1}
        for each in fields(self):
            value = getattr(self, each.name)
            least, most = whole.get(each.name, 0), _MOST.get(each.name, math.inf)
            kind = int if each.name in whole else (int, float)
            if isinstance(value, bool) or not isinstance(value, kind) or not least <= value <= most:
                raise OptionError(f"augmentation: {each.name} must be {least}..{most}, got {value}")
        if self.clahe_tiles * (1 + self.clahe_more / 2) > self.size // 2:
            raise OptionError(f"augmentation: too many CLAHE tiles for {self.size} pixels")


_MOST = {
    "lightness": 1.0,
    "colour": 1.0,
    "clahe_chance": 1.0,
    "flip": 1.0,
    "rotation": 180.0,
    "zoom": 0.9,
}


@dataclass(frozen=True, slots=True)
class Augmented:
    """One augmented batch.

    Attributes:
        inputs: (N, 3, S, S) sRGB 0..1, warped: what the model sees.
        targets: (N, 3, S, S), the same faces before the warp: what it shall give.
        masks: (N, M, S, S) of the targets, 0..1, or None.
        points: (N, P, 2) on the targets, pixels, or None.
        field: (N, S, S, 2) where on the target each pixel of the input lies;
            :func:`featflow.train.warping.follow_points` finds points on the input with it.
    """

    inputs: Tensor
    targets: Tensor
    masks: Tensor | None
    points: Tensor | None
    field: Tensor


class ImageAugmentation:
    """Changes batches of crops at random, the same way for equal seeds.

    Args:
        options: what to do.
        seed: of the chance.
        mirror: (P,) partner of each point when left and right change places.
    """

    def __init__(
        self, options: AugmentOptions, seed: int = 0, mirror: NDArray[np.int64] = MIRROR_68
    ) -> None:
        self.options = options
        self.generator = torch.Generator().manual_seed(seed)
        self.mirror = torch.from_numpy(np.array(mirror))

    def __call__(
        self,
        images: Tensor,
        masks: Tensor | None = None,
        points: Tensor | None = None,
        near: Tensor | None = None,
    ) -> Augmented:
        """Colour, then one affine map and mirror for picture, masks and points, then a warp.

        Args:
            images: (N, S, S, 3) uint8 RGB.
            masks: (N, M, S, S) uint8 0..255, or floats 0..1.
            points: (N, P, 2) pixels of the crop.
            near: (N, P, 2) points of other faces to warp towards, in the same crops; without
                them the warp is a random grid.

        Raises:
            ArrayError: a shape or type does not fit.
        """
        self._check(images, masks, points, near)
        pictures = self.color_adjust(images)
        matrix, flipped = self.transform(len(images))
        back = warping.inverse(matrix)
        layers = pictures if masks is None else torch.cat([pictures, _unit(masks)], 1)
        seen = warping.sample(layers, warping.affine_field(back, self.options.size))
        moved = self._moved(matrix, flipped, points)
        field = self.warp(len(images), moved, self._moved(matrix, flipped, near))
        # The input is looked up in the original once, through both maps: less blur than two.
        inputs = warping.sample(pictures, warping.carry(back, field))
        kept = None if masks is None else seen[:, 3:]
        return Augmented(inputs, seen[:, :3], kept, moved, field)

    def color_adjust(self, images: Tensor) -> Tensor:
        """Shift L*, a* and b*, equalise the contrast of some; (N, 3, S, S) sRGB 0..1.

        A shift above 0 goes that part of the way to the largest value (L* 100, a* and b* 127),
        one below 0 to the smallest (0 and -128).

        Args:
            images: (N, S, S, 3) uint8 RGB.
        """
        options = self.options
        lab = colour_tables.bytes_to_lab(images)
        most = torch.tensor([options.lightness, options.colour, options.colour])
        amount = self._uniform(len(images), 3) * most
        low = torch.tensor([0.0, -128.0, -128.0])[:, None, None]
        high = torch.tensor([100.0, 127.0, 127.0])[:, None, None]
        amount = amount[..., None, None]
        end = torch.where(amount > 0, high, low)
        lab = lab * (1 - amount.abs()) + amount.abs() * end
        self._equalise(lab)
        return colour_tables.lab_to_rgb(lab)

    def _equalise(self, lab: Tensor) -> None:
        """CLAHE on L* of some pictures, in place; those with equally many tiles together."""
        options = self.options
        chosen = torch.rand(len(lab), generator=self.generator) < options.clahe_chance
        more = torch.randint(options.clahe_more + 1, (len(lab),), generator=self.generator)
        tiles = options.clahe_tiles + more * (options.clahe_tiles // 2)
        for count in sorted(set(tiles[chosen].tolist())):
            rows = (chosen & (tiles == count)).nonzero()[:, 0]
            grey = (lab[rows, 0] * 2.55).round().clamp(0, 255).byte()
            lab[rows, 0] = clahe(grey, count, options.clahe_clip) / 2.55

    def transform(self, count: int) -> tuple[Tensor, Tensor]:
        """Draw affine maps (N, 2, 3) from crop to target pixels, and who is mirrored (N,)."""
        options = self.options
        angle = self._uniform(count) * math.radians(options.rotation)
        zoom = 1 + self._uniform(count) * options.zoom
        shift = self._uniform(count, 2) * options.shift
        affine = warping.about_centre(angle, zoom, shift, options.size)
        flipped = torch.rand(count, generator=self.generator) < options.flip
        return warping.compose(warping.mirror(flipped, options.size), affine), flipped

    def warp(self, count: int, points: Tensor | None = None, near: Tensor | None = None) -> Tensor:
        """Draw fields (N, S, S, 2): where on the target each pixel of the input lies.

        With ``near`` the input's points lie there, plus noise; otherwise a grid of nodes is
        moved at random.
        """
        options = self.options
        if near is not None and points is not None:
            noise = torch.randn(near.shape, generator=self.generator) * options.landmark_noise
            return warping.landmark_field(near + noise, points, options.size)
        nodes = torch.randn(
            *(count, options.warp_cells + 1, options.warp_cells + 1, 2), generator=self.generator
        )
        moved = warping.spread(nodes * options.warp, options.size)
        return warping.pixel_centres(options.size) + moved

    def _moved(self, matrix: Tensor, flipped: Tensor, points: Tensor | None) -> Tensor | None:
        """Points on the target; in a mirrored face left and right change places."""
        if points is None:
            return None
        moved = warping.carry(matrix, points.float())
        return torch.where(flipped[:, None, None], moved[:, self.mirror], moved)

    def _uniform(self, *shape: int) -> Tensor:
        return 2 * torch.rand(shape, generator=self.generator) - 1

    def _check(
        self, images: Tensor, masks: Tensor | None, points: Tensor | None, near: Tensor | None
    ) -> None:
        size, count = self.options.size, len(images)
        if images.dtype != torch.uint8 or tuple(images.shape[1:]) != (size, size, 3):
            shape = f"{tuple(images.shape)} {images.dtype}"
            raise ArrayError("crops", f"are {shape}", f"must be (N, {size}, {size}, 3) uint8")
        if masks is not None and (masks.shape[0], *masks.shape[2:]) != (count, size, size):
            raise ArrayError("masks", f"are {tuple(masks.shape)}", f"must be ({count}, M, S, S)")
        for name, given in (("points", points), ("near", near)):
            wanted = (count, len(self.mirror), 2)
            if given is not None and tuple(given.shape) != wanted:
                raise ArrayError(name, f"are {tuple(given.shape)}", f"must be {wanted}")
        if near is not None and points is None:
            raise ArrayError("near", "came without points", "give the faces' own points too")


class NearLandmarks:
    """For each face the faces of the other side whose landmarks lie nearest.

    Args:
        own: (N, P, 2) aligned landmarks.
        other: (M, P, 2) of the other side, in equal crops.
        choices: how many to choose from; fewer where the other side has fewer.

    Raises:
        OptionError: the other side is empty, or there is nothing to choose.
    """

    def __init__(self, own: Tensor, other: Tensor, choices: int = 10) -> None:
        if not len(other) or choices < 1:
            raise OptionError(f"no landmarks to choose from: {len(other)} faces, {choices} choices")
        self.other = other.float()
        distance = torch.cdist(
            own.float().flatten(1),
            self.other.flatten(1),
            # Squares of hundreds of pixels would drown distances of less than one.
            compute_mode="donot_use_mm_for_euclid_dist",
        )
        self.nearest = distance.topk(min(choices, len(other)), largest=False).indices

    def draw(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """One of the nearest for each row (B,), (B, P, 2)."""
        pick = torch.randint(self.nearest.shape[1], (len(rows),), generator=generator)
        return self.other[self.nearest[rows, pick]]


def _unit(masks: Tensor) -> Tensor:
    return masks.float() / 255 if masks.dtype == torch.uint8 else masks.float()
