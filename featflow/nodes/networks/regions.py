"""Region proposals and the pooling of regions (Ren et al. 2015; He et al. 2017, RoIAlign)."""

from __future__ import annotations

import math

import numpy as np
import torch

from featflow.geometry.boxes import nms

# Beyond this a box would grow more than 62.5 times; the clip is part of the trained decoder.
MOST_LOG_GROWTH = math.log(1000 / 16)
ASPECTS = (0.5, 1.0, 2.0)
POOL, SAMPLES = 7, 2
CANONICAL_SIDE, CANONICAL_LEVEL = 224.0, 4


def level_anchors(
    grid: tuple[int, int], stride: tuple[int, int], size: int, device: torch.device
) -> torch.Tensor:
    """Anchors of one level as ``x0, y0, x1, y1``, (rows * columns * 3, 4).

    Their sides are rounded to whole pixels about the corner (not the centre) of each cell, as
    they were in training.
    """
    root = torch.tensor(ASPECTS, device=device).sqrt()
    half = torch.stack([size / root, size * root], 1) / 2
    shapes = torch.cat([-half, half], 1).round()
    y = torch.arange(grid[0], device=device) * float(stride[0])
    x = torch.arange(grid[1], device=device) * float(stride[1])
    corner = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).flip(-1).reshape(-1, 1, 2)
    return (corner.repeat(1, 1, 2) + shapes).reshape(-1, 4)


def apply_deltas(deltas: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """Move and scale boxes (..., 4) by deltas (..., 4): centre in parts of the side, log side."""
    side = anchors[..., 2:] - anchors[..., :2]
    centre = anchors[..., :2] + side / 2 + deltas[..., :2] * side
    half = side * deltas[..., 2:].clamp(max=MOST_LOG_GROWTH).exp() / 2
    return torch.cat([centre - half, centre + half], -1)


def clip_boxes(boxes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Cut boxes off at the edges of a (height, width) picture."""
    limits = boxes.new_tensor([size[1], size[0], size[1], size[0]])
    return boxes.clamp(min=0).minimum(limits)


def propose(
    levels: list[tuple[torch.Tensor, torch.Tensor]],
    size: tuple[int, int],
    *,
    most_before: int,
    most_after: int,
    iou_threshold: float,
) -> torch.Tensor:
    """The most promising boxes of one picture.

    Args:
        levels: for each level, boxes (A, 4) and their objectness (A,).
        size: (height, width) of the picture.
        most_before: boxes a level that enter the suppression.
        most_after: boxes returned.
        iou_threshold: overlap above which the weaker of two boxes of one level is dropped.

    Returns:
        (P, 4), best first.
    """
    kept_boxes, kept_scores = [], []
    for boxes, scores in levels:
        scores, order = scores.topk(min(most_before, len(scores)))
        boxes = clip_boxes(boxes[order], size)
        large = (boxes[:, 2:] - boxes[:, :2] >= 1e-3).all(1)
        boxes, scores = boxes[large], scores[large]
        rows = suppress(boxes, scores, iou_threshold)[:most_after]
        kept_boxes.append(boxes[rows])
        kept_scores.append(scores[rows])
    scores, order = torch.cat(kept_scores).sort(descending=True, stable=True)
    return torch.cat(kept_boxes)[order[:most_after]]


def suppress(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Rows kept by non-maximum suppression, best first."""
    found = nms(
        boxes.detach().cpu().double().numpy(),
        scores.detach().cpu().double().numpy(),
        iou_threshold,
    )
    return torch.from_numpy(np.asarray(found)).to(boxes.device)


def level_of(boxes: torch.Tensor, levels: int) -> torch.Tensor:
    """Pyramid level (0 is the finest) at which each box (P, 4) is pooled, by its area."""
    side = (boxes[:, 2:] - boxes[:, :2]).prod(1).sqrt()
    level = torch.floor(CANONICAL_LEVEL + torch.log2(side / CANONICAL_SIDE) + 1e-6)
    finest = CANONICAL_LEVEL - 2
    return (level - finest).clamp(0, levels - 1).long()


def pool_regions(maps: list[torch.Tensor], boxes: torch.Tensor) -> torch.Tensor:
    """Features of boxes, each from the level that fits its size.

    Args:
        maps: (C, H, W) of one picture, strides 4, 8, 16, 32.
        boxes: (P, 4) pixels of the picture.

    Returns:
        (P, C, 7, 7).
    """
    pooled = maps[0].new_zeros(len(boxes), maps[0].shape[0], POOL, POOL)
    level = level_of(boxes, len(maps))
    for number, features in enumerate(maps):
        rows = (level == number).nonzero()[:, 0]
        for part in torch.split(rows, 128):
            pooled[part] = roi_align(features, boxes[part] / (4 << number))
    return pooled


def roi_align(features: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Mean of 2x2 bilinear samples in each of 7x7 cells of boxes in map cells.

    The position of a map's value is its cell's top-left corner, as in the first RoIAlign.

    Args:
        features: (C, H, W).
        boxes: (P, 4).

    Returns:
        (P, C, 7, 7).
    """
    height, width = features.shape[1:]
    count = len(boxes)
    side = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1.0)
    samples = POOL * SAMPLES
    steps = (torch.arange(samples, dtype=boxes.dtype, device=boxes.device) + 0.5) / samples
    x = boxes[:, :1] + steps * side[:, :1]
    y = boxes[:, 1:2] + steps * side[:, 1:]
    grid = torch.stack(
        [
            (x * (2 / max(width - 1, 1)) - 1)[:, None, :].expand(-1, samples, -1),
            (y * (2 / max(height - 1, 1)) - 1)[:, :, None].expand(-1, -1, samples),
        ],
        -1,
    )
    sampled = torch.nn.functional.grid_sample(
        features[None],
        grid.reshape(1, count * samples, samples, 2),
        padding_mode="border",
        align_corners=True,
    )
    sampled = sampled[0].reshape(len(features), count, samples, samples).transpose(0, 1)
    # A box at least one cell wide may reach beyond the map, where there is nothing to see.
    seen = (x <= width)[:, None, None, :] & (y <= height)[:, None, :, None]
    return torch.nn.functional.avg_pool2d(sampled * seen, SAMPLES)
