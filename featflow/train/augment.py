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
from torch.utils.data import default_collate

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


_LOWEST, _HIGHEST = (0.0, -128.0, -128.0), (100.0, 127.0, 127.0)
"""Ends of L*, a* and b*."""

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
        nodes: (N, G, G, 2) pixels, shifts of the warp's nodes.
    """

    inputs: Tensor
    targets: Tensor
    masks: Tensor | None
    points: Tensor | None
    nodes: Tensor

    @property
    def field(self) -> Tensor:
        """(N, S, S, 2) where on the target each pixel of the input lies;
        :func:`featflow.train.warping.follow_points` finds points on the input with it."""
        return warping.field_of(self.nodes, self.targets.shape[-1])


@dataclass(frozen=True, slots=True)
class Share:
    """Which faces of a larger batch are a process's own: every ``world``-th from ``rank`` on.

    Chance is drawn for all of them, so that processes together see what one would.

    Attributes:
        rank: number of the process.
        world: how many there are.
    """

    rank: int = 0
    world: int = 1

    def rand(self, count: int, *shape: int, generator: torch.Generator) -> Tensor:
        """Uniform 0..1, (count, *shape)."""
        return torch.rand(count * self.world, *shape, generator=generator)[self.rank :: self.world]

    def randn(self, count: int, *shape: int, generator: torch.Generator) -> Tensor:
        """Normal, (count, *shape)."""
        return torch.randn(count * self.world, *shape, generator=generator)[self.rank :: self.world]


_PIECE_PX = 1 << 17
"""Pixels that are worked on at once: few enough to stay in the processor's cache."""


class ImageAugmentation:
    """Changes batches of crops at random, the same way for equal seeds.

    Args:
        options: what to do.
        seed: of the chance.
        mirror: (P,) partner of each point when left and right change places.
        share: which faces of a batch that processes share are given.
    """

    def __init__(
        self,
        options: AugmentOptions,
        seed: int = 0,
        mirror: NDArray[np.int64] = MIRROR_68,
        share: Share | None = None,
    ) -> None:
        self.options = options
        self.generator = torch.Generator().manual_seed(seed)
        self.mirror = torch.from_numpy(np.array(mirror))
        self.share = share or Share()

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
        count, size = len(images), self.options.size
        # All chance is drawn first, so that it does not depend on the pieces.
        colours = self._draw_colours(count)
        matrix, flipped = self.transform(count)
        moved = self._moved(matrix, flipped, points)
        nodes = self._draw_nodes(count, moved, self._moved(matrix, flipped, near))
        corners, bent = self._looked_up(matrix, nodes)
        made: list[tuple[Tensor, Tensor]] = [(images, images)] * count
        # Pictures with as many tiles together, since CLAHE takes those at once.
        order, step = colours[-1].argsort(stable=True), max(1, _PIECE_PX // size**2)
        for rows in (order[start : start + step] for start in range(0, count, step)):
            pictures = self._coloured(images[rows], *(each[rows] for each in colours))
            seen = warping.sample_unit(pictures, warping.spread(bent[rows], size))
            if masks is not None:
                pictures = torch.cat([pictures, _unit(masks[rows])], 1)
            kept = warping.sample_unit(pictures, warping.spread(corners[rows], size))
            for row, one, other in zip(rows.tolist(), seen, kept, strict=True):
                made[row] = one, other
        # In a worker process this stacks into memory that is shared, which saves a copy.
        inputs, targets = (default_collate(list(each)) for each in zip(*made, strict=True))
        drawn = None if masks is None else targets[:, 3:]
        return Augmented(inputs, targets[:, :3], drawn, moved, nodes)

    def color_adjust(self, images: Tensor) -> Tensor:
        """Shift L*, a* and b*, equalise the contrast of some; (N, 3, S, S) sRGB 0..1.

        A shift above 0 goes that part of the way to the largest value (L* 100, a* and b* 127),
        one below 0 to the smallest (0 and -128).

        Args:
            images: (N, S, S, 3) uint8 RGB.
        """
        return self._coloured(images, *self._draw_colours(len(images)))

    def _draw_colours(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Factor (N, 3) and summand (N, 3) of L*, a* and b*; CLAHE's tiles (N,), 0 for none."""
        options = self.options
        amount = self._uniform(count, 3)
        amount *= torch.tensor([options.lightness, options.colour, options.colour])
        end = torch.where(amount > 0, torch.tensor(_HIGHEST), torch.tensor(_LOWEST))
        chosen = self._chance(count) < options.clahe_chance
        more = (self._chance(count) * (options.clahe_more + 1)).long()
        tiles = options.clahe_tiles + more * (options.clahe_tiles // 2)
        return 1 - amount.abs(), amount.abs() * end, tiles * chosen

    def _coloured(self, images: Tensor, gain: Tensor, bias: Tensor, tiles: Tensor) -> Tensor:
        """The pictures (N, 3, S, S) 0..1 with their colours shifted and contrast equalised."""
        if not self._has_colour:
            return images.permute(0, 3, 1, 2) / 255
        places = colour_tables.shifted(colour_tables.roots_of(images), gain, bias)
        for count in set(tiles.tolist()) - {0}:
            rows = (tiles == count).nonzero()[:, 0]
            places[rows] = self._equalised(places[rows], int(count))
        return colour_tables.rgb_of(places).reshape(len(images), 3, *images.shape[1:3])

    @property
    def _has_colour(self) -> bool:
        return any((self.options.lightness, self.options.colour, self.options.clahe_chance))

    def _equalised(self, places: Tensor, tiles: int) -> Tensor:
        """CLAHE on L*."""
        lightness = colour_tables.lightness_of(places)
        grey = (lightness * 2.55).round_().clamp_(0, 255).byte()
        side = self.options.size
        equal = clahe(grey.reshape(-1, side, side), tiles, self.options.clahe_clip)
        return colour_tables.lighten(places, equal.reshape(grey.shape) / 2.55 - lightness)

    def transform(self, count: int) -> tuple[Tensor, Tensor]:
        """Draw affine maps (N, 2, 3) from crop to target pixels, and who is mirrored (N,)."""
        options = self.options
        angle = self._uniform(count) * math.radians(options.rotation)
        zoom = 1 + self._uniform(count) * options.zoom
        shift = self._uniform(count, 2) * options.shift
        affine = warping.about_centre(angle, zoom, shift, options.size)
        flipped = self._chance(count) < options.flip
        return warping.compose(warping.mirror(flipped, options.size), affine), flipped

    def warp(self, count: int, points: Tensor | None = None, near: Tensor | None = None) -> Tensor:
        """Draw fields (N, S, S, 2): where on the target each pixel of the input lies.

        With ``near`` the input's points lie there, plus noise; otherwise a grid of nodes is
        moved at random.
        """
        return warping.field_of(self._draw_nodes(count, points, near), self.options.size)

    def _draw_nodes(self, count: int, points: Tensor | None, near: Tensor | None) -> Tensor:
        """Shifts (N, G, G, 2) of the nodes of :meth:`warp`, pixels."""
        options = self.options
        if near is not None and points is not None:
            noise = self.share.randn(*near.shape, generator=self.generator)
            seen = near + noise * options.landmark_noise
            return warping.landmark_nodes(seen, points, options.size)
        grid = (options.warp_cells + 1, options.warp_cells + 1, 2)
        return self.share.randn(count, *grid, generator=self.generator) * options.warp

    def _looked_up(self, matrix: Tensor, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Where the corners of targets and the nodes of inputs lie on the crop, in -1..1.

        The input is looked up on the crop once, through both maps: less blur than two. Both maps
        are linear between nodes, so that carrying the nodes carries all pixels.
        """
        size, back = self.options.size, warping.inverse(matrix)
        corners = warping.node_places(2, size).expand(len(matrix), -1, -1, -1)
        bent = warping.node_places(nodes.shape[1], size) + nodes
        return tuple(warping.carry(back, each) * (2 / size) - 1 for each in (corners, bent))  # type: ignore[return-value]

    def _moved(self, matrix: Tensor, flipped: Tensor, points: Tensor | None) -> Tensor | None:
        """Points on the target; in a mirrored face left and right change places."""
        if points is None:
            return None
        moved = warping.carry(matrix, points.float())
        return torch.where(flipped[:, None, None], moved[:, self.mirror], moved)

    def _uniform(self, *shape: int) -> Tensor:
        return 2 * self._chance(*shape) - 1

    def _chance(self, *shape: int) -> Tensor:
        return self.share.rand(*shape, generator=self.generator)

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

    def draw(self, rows: Tensor, generator: torch.Generator, share: Share | None = None) -> Tensor:
        """One of the nearest for each row (B,), (B, P, 2)."""
        chance = (share or Share()).rand(len(rows), generator=generator)
        pick = (chance * self.nearest.shape[1]).long()
        return self.other[self.nearest[rows, pick]]


def _unit(masks: Tensor) -> Tensor:
    return masks.float() / 255 if masks.dtype == torch.uint8 else masks.float()
