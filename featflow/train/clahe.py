"""Contrast-limited adaptive histogram equalisation of many pictures at once."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from featflow.errors import OptionError

_LEVELS = 256


def clahe(grey: Tensor, tiles: int, clip: float = 2.0) -> Tensor:
    """Equalise the contrast of each tile, blended between tiles (Zuiderveld 1994), as OpenCV.

    Args:
        grey: (N, H, W) uint8.
        tiles: number of tiles along each side.
        clip: bound on a histogram's bin, in units of its mean.

    Returns:
        (N, H, W) uint8.

    Raises:
        OptionError: tiles or clip cannot be used, or a tile would have no pixel.
    """
    height, width = grey.shape[-2:]
    if not 1 <= tiles <= min(height, width) // 2 or not clip > 0:
        raise OptionError(f"CLAHE of {height} x {width}: {tiles} tiles, clip {clip} cannot be used")
    padded = _divisible(grey, tiles)
    tables = _tables(padded, tiles, clip)
    tile_size = padded.shape[-2] // tiles, padded.shape[-1] // tiles
    picture = torch.arange(len(grey), dtype=torch.int32)[:, None, None] * tiles**2
    value = grey.int() + picture * _LEVELS
    out = torch.zeros(grey.shape)
    for first, part in _around((height, width), tile_size, tiles):
        seen = tables.flatten().index_select(0, (value + first).flatten())
        out.addcmul_(seen.reshape(grey.shape), part)
    return out.round_().clamp_(0, 255).byte()


def _divisible(grey: Tensor, tiles: int) -> Tensor:
    """Mirror the far edges until the tiles fit."""
    height, width = grey.shape[-2:]
    if height % tiles == 0 and width % tiles == 0:
        return grey
    # OpenCV pads both sides as soon as one does not fit, by a whole tile count where it fits.
    pad = (0, tiles - width % tiles, 0, tiles - height % tiles)
    return F.pad(grey[:, None].float(), pad, mode="reflect")[:, 0].byte()


def _tables(padded: Tensor, tiles: int, clip: float) -> Tensor:
    """Grey level of each level in each tile, (N * tiles * tiles, 256) float32."""
    count, height, width = padded.shape
    high, wide = height // tiles, width // tiles
    blocks = padded.reshape(count, tiles, high, tiles, wide).transpose(2, 3)
    flat = blocks.reshape(count * tiles**2, high * wide).long()
    offset = torch.arange(len(flat))[:, None] * _LEVELS
    histogram = torch.bincount((flat + offset).flatten(), minlength=len(flat) * _LEVELS)
    histogram = histogram.reshape(len(flat), _LEVELS)
    area = high * wide
    limit = max(1, int(clip * area / _LEVELS))
    excess = (histogram - limit).clamp(min=0).sum(1, keepdim=True)
    histogram = histogram.clamp(max=limit) + excess // _LEVELS
    rest = excess % _LEVELS
    # What does not divide is spread evenly, one each, over the levels.
    step = (_LEVELS // rest.clamp(min=1)).clamp(min=1)
    level = torch.arange(_LEVELS)
    histogram = histogram + ((level % step == 0) & (level // step < rest))
    return (histogram.cumsum(1) * (255.0 / area)).round().clamp(0, 255).float()


@lru_cache(maxsize=32)
def _around(
    size: tuple[int, int], tile_size: tuple[int, int], tiles: int
) -> list[tuple[Tensor, Tensor]]:
    """For the four tiles around each pixel: first entry of their tables, and their part."""
    rows, columns = (_blend(*each, tiles) for each in zip(size, tile_size, strict=True))
    return [
        (((row[:, None] * tiles + column) * _LEVELS).int(), part_y[:, None] * part_x)
        for row, part_y in rows
        for column, part_x in columns
    ]


def _blend(size: int, tile: int, tiles: int) -> list[tuple[Tensor, Tensor]]:
    """The two tiles around each pixel of a row, and their parts."""
    position = torch.arange(size) / tile - 0.5
    first = position.floor()
    part = position - first
    low, high = first.long().clamp(min=0), (first.long() + 1).clamp(max=tiles - 1)
    return [(low, 1 - part), (high, part)]
