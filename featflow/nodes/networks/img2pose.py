"""img2pose (Albiero et al. 2021, CVPR, arXiv:2012.07791): faces found by their 6-DoF pose.

A Faster R-CNN (Ren et al. 2015) on a ResNet-18 feature pyramid (Lin et al. 2017) whose second
stage predicts the pose of a face in its region, and no box. What the pose means, and the box
that follows from it, stand in :mod:`featflow.nodes.networks.img2pose_decode`.
"""

from __future__ import annotations

import torch
from torch import nn

from featflow.nodes.networks.layers import FrozenBatchNorm2d
from featflow.nodes.networks.regions import (
    ASPECTS,
    POOL,
    apply_deltas,
    clip_boxes,
    level_anchors,
    pool_regions,
    propose,
)
from featflow.nodes.networks.resnet import RESNET18, BasicBlock, ResNetBody

WIDTH, HIDDEN = 256, 1024
ANCHOR_SIZES = (16, 32, 64, 128, 256)
PROPOSALS = 1000
LEAST_SCORE = 0.05


class Pyramid(nn.Module):
    """Four levels of equal width, each with the next coarser one added, and a fifth."""

    def __init__(self) -> None:
        super().__init__()
        stages = (64, 128, 256, 512)
        self.inner_blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(c, WIDTH, 1)) for c in stages)
        self.layer_blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 3, padding=1)) for _ in stages
        )

    def forward(self, stages: list[torch.Tensor]) -> list[torch.Tensor]:
        """Backbone stages to maps of 256 channels at strides 4, 8, 16, 32 and 64."""
        merged: list[torch.Tensor] = []
        for stage, block in zip(reversed(stages), reversed(self.inner_blocks), strict=True):
            lateral = block(stage)
            if merged:
                size = lateral.shape[2:]
                lateral = lateral + nn.functional.interpolate(merged[-1], size=size)
            merged.append(lateral)
        levels = [block(x) for block, x in zip(self.layer_blocks, reversed(merged), strict=True)]
        return [*levels, nn.functional.max_pool2d(levels[-1], 1, 2)]


class Backbone(nn.Module):
    """ResNet-18 with frozen statistics, and its pyramid."""

    def __init__(self) -> None:
        super().__init__()
        self.body = ResNetBody(BasicBlock, RESNET18, FrozenBatchNorm2d)
        self.fpn = Pyramid()

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """(N, 3, H, W) to five maps."""
        levels: list[torch.Tensor] = self.fpn(self.body(x))
        return levels


class ProposalHead(nn.Module):
    """Objectness and box deltas of the anchors of every level."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.cls_logits = nn.Conv2d(WIDTH, len(ASPECTS), 1)
        self.bbox_pred = nn.Conv2d(WIDTH, len(ASPECTS) * 4, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, 256, H, W) to objectness (N, A) and deltas (N, A, 4): row, column, shape."""
        x = torch.relu(self.conv(x))
        objectness = self.cls_logits(x).permute(0, 2, 3, 1).flatten(1)
        return objectness, self.bbox_pred(x).permute(0, 2, 3, 1).reshape(len(x), -1, 4)


class ProposalNetwork(nn.Module):
    """Regions worth a second look."""

    def __init__(self) -> None:
        super().__init__()
        self.head = ProposalHead()

    def forward(
        self, levels: list[torch.Tensor], padded: tuple[int, int], size: tuple[int, int]
    ) -> list[torch.Tensor]:
        """Up to 1,000 boxes (P, 4) a picture, in pixels, best first.

        Args:
            levels: maps of the padded pictures.
            padded: (height, width) with padding.
            size: (height, width) without.
        """
        found = []
        for level, anchor_size in zip(levels, ANCHOR_SIZES, strict=True):
            objectness, deltas = self.head(level)
            grid = (level.shape[2], level.shape[3])
            stride = (padded[0] // grid[0], padded[1] // grid[1])
            anchors = level_anchors(grid, stride, anchor_size, level.device)
            found.append((apply_deltas(deltas, anchors), objectness))
        return [
            propose(
                [(boxes[row], objectness[row]) for boxes, objectness in found],
                size,
                most_before=6000,
                most_after=PROPOSALS,
                iou_threshold=0.4,
            )
            for row in range(len(levels[0]))
        ]


class TwoLayerHead(nn.Module):
    """Pooled features to a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.fc6 = nn.Linear(WIDTH * POOL * POOL, HIDDEN)
        self.fc7 = nn.Linear(HIDDEN, HIDDEN)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(P, 256, 7, 7) to (P, 1024)."""
        return torch.relu(self.fc7(torch.relu(self.fc6(x.flatten(1)))))


class PosePredictor(nn.Module):
    """Six numbers for background and face each; those of the background mean nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.dof_pred = nn.Sequential(
            nn.Linear(HIDDEN, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 12)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(P, 1024) to the face's (P, 6)."""
        both: torch.Tensor = self.dof_pred(x)
        return both[:, 6:]


class ClassPredictor(nn.Module):
    """Background or face."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_score = nn.Linear(HIDDEN, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(P, 1024) to the probability of a face, (P,)."""
        return torch.softmax(self.cls_score(x), 1)[:, 1]


class RegionHeads(nn.Module):
    """The second stage: two branches that share nothing but the pooled features."""

    def __init__(self) -> None:
        super().__init__()
        self.box_head = TwoLayerHead()
        self.box_predictor = PosePredictor()
        self.class_head = TwoLayerHead()
        self.class_predictor = ClassPredictor()

    def forward(
        self, maps: list[torch.Tensor], boxes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores (P,) and standardised poses (P, 6); NaN poses where the score is 0.05 or less."""
        pooled = pool_regions(maps, boxes)
        scores: torch.Tensor = self.class_predictor(self.class_head(pooled))
        poses = pooled.new_full((len(boxes), 6), torch.nan)
        likely = scores > LEAST_SCORE
        if likely.any():
            poses[likely] = self.box_predictor(self.box_head(pooled[likely]))
        return scores, poses


class Img2Pose(nn.Module):
    """Faces and their poses, ResNet-18."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.rpn = ProposalNetwork()
        self.roi_heads = RegionHeads()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Find faces.

        Args:
            x: (N, 3, H, W), ImageNet-normalised. Pictures are padded here, at the right and
                the bottom, to a multiple of 32.

        Returns:
            Regions (N, 1000, 4) as ``x0, y0, x1, y1`` pixels, scores (N, 1000) and
            standardised poses in the regions (N, 1000, 6). Poses are NaN where the score is
            0.05 or less; rows that hold no region are 0 in all but the pose.
        """
        height, width = x.shape[2:]
        padding = (0, -width % 32, 0, -height % 32)
        padded = nn.functional.pad(x, padding)
        levels = self.backbone(padded)
        proposals = self.rpn(levels, (padded.shape[2], padded.shape[3]), (height, width))
        regions = x.new_zeros(len(x), PROPOSALS, 4)
        scores = x.new_zeros(len(x), PROPOSALS)
        poses = x.new_full((len(x), PROPOSALS, 6), torch.nan)
        for row, boxes in enumerate(proposals):
            found = slice(0, len(boxes))
            regions[row, found] = clip_boxes(boxes, (height, width))
            maps = [level[row] for level in levels[:4]]
            scores[row, found], poses[row, found] = self.roi_heads(maps, boxes)
        return regions, scores, poses
