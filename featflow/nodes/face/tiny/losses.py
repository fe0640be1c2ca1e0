"""Which cell answers for which face, and what it costs to answer wrongly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

RANGES = {8: (0.0, 42.0), 16: (34.0, 88.0), 32: (72.0, 190.0), 64: (160.0, 1e9)}
"""Longer side in pixels of the faces that each stride answers for; neighbours overlap."""


@dataclass(frozen=True, slots=True)
class Targets:
    """What every cell of a batch should say.

    Attributes:
        positive: (N, cells) cells that answer for a face.
        ignored: (N, cells) cells whose score does not matter.
        face: (N, cells) row of the face in ``boxes``; meaningful where positive.
        boxes: (faces, 4) input pixels.
        points: (faces, 5, 2) input pixels, NaN where unknown.
    """

    positive: Tensor
    ignored: Tensor
    face: Tensor
    boxes: Tensor
    points: Tensor


def assign(cells: Tensor, boxes: Tensor, certain: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Give each face the cells near its centre, on the strides made for its size.

    Args:
        cells: (cells, 3) centre x, centre y, stride.
        boxes: (faces, 4) of one picture.
        certain: (faces,) False for faces that are neither to be found nor to be missed.

    Returns:
        positive (cells,), ignored (cells,) and face (cells,): of two faces that claim a cell the
        smaller has it.
    """
    if len(boxes) == 0:
        nothing = torch.zeros(len(cells), dtype=torch.bool)
        return nothing, nothing, torch.zeros(len(cells), dtype=torch.long)
    size = boxes[:, 2:] - boxes[:, :2]
    longer = size.max(1).values
    centre, stride = (boxes[:, :2] + boxes[:, 2:]) / 2, cells[:, 2]
    distance = (cells[:, None, :2] - centre).abs()
    near = (distance <= torch.maximum(0.18 * size, 0.75 * stride[:, None, None])).all(-1)
    bounds = torch.tensor([RANGES[int(s)] for s in stride.tolist()])
    fits = (longer >= bounds[:, 0:1]) & (longer <= bounds[:, 1:2])
    claim = near & fits & certain
    area = torch.where(claim, size.prod(1), torch.inf)
    positive = claim.any(1)
    inside = (distance <= size / 2).all(-1)
    ignored = (inside & ~certain).any(1) & ~positive
    # A neighbouring stride may answer too: right where it sees the face well, never punished.
    ignored |= (near & certain).any(1) & ~positive
    return positive, ignored, area.argmin(1)


def giou_loss(predicted: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """1 - generalised IoU (Rezatofighi et al. 2019) and the plain IoU, (K,) each."""
    low = torch.maximum(predicted[:, :2], target[:, :2])
    high = torch.minimum(predicted[:, 2:], target[:, 2:])
    both = (high - low).clamp(min=0).prod(1)
    union = _area(predicted) + _area(target) - both
    iou = both / union.clamp(min=1e-6)
    hull = (
        torch.maximum(predicted[:, 2:], target[:, 2:])
        - torch.minimum(predicted[:, :2], target[:, :2])
    ).prod(1)
    return 1 - iou + (hull - union) / hull.clamp(min=1e-6), iou


def _area(box: Tensor) -> Tensor:
    return (box[:, 2:] - box[:, :2]).clamp(min=0).prod(1)


def detection_loss(
    logits: Tensor, boxes: Tensor, points: Tensor, targets: Targets
) -> dict[str, Tensor]:
    """Quality focal loss on scores, GIoU on boxes, smooth L1 on points.

    The score learns the square root of the box's IoU (after Li et al. 2020), so that a score of
    0.5 separates what overlaps a face from what does not.

    Args:
        logits: (N, cells).
        boxes: (N, cells, 4) decoded, input pixels.
        points: (N, cells, 5, 2) decoded, input pixels.
        targets: what the cells should say.
    """
    chosen = targets.positive
    count = chosen.sum().clamp(min=1)
    face = targets.face[chosen]
    box_loss, iou = giou_loss(boxes[chosen], targets.boxes[face])
    quality = torch.zeros_like(logits)
    quality[chosen] = iou.detach().clamp(min=0).sqrt()
    weight = (quality - logits.sigmoid()).abs().detach() ** 2
    entropy = F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    score = (entropy * weight * ~targets.ignored).sum() / count
    size = (targets.boxes[face, 2:] - targets.boxes[face, :2]).mean(1)
    off = (points[chosen] - targets.points[face]) / size[:, None, None]
    known = torch.isfinite(off)
    off = torch.where(known, off, torch.zeros_like(off))
    point = F.smooth_l1_loss(off, torch.zeros_like(off), beta=0.05, reduction="none")
    points_loss = point.sum() / known.sum().clamp(min=1)
    box = box_loss.mean() if len(face) else boxes.sum() * 0
    return {
        "loss": score + 2.0 * box + 5.0 * points_loss,
        "score": score,
        "box": box,
        "points": points_loss,
        "iou": iou.mean() if len(face) else iou.sum(),
    }
