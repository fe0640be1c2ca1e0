"""L2CS-Net (Abdelrahman et al. 2022, arXiv:2203.03339): gaze as two classifications."""

from __future__ import annotations

import torch
from torch import nn

from featflow.nodes.networks.layers import pooled
from featflow.nodes.networks.resnet import RESNET50, Bottleneck, ResNetBody

BINS = 90


class L2CS(ResNetBody):
    """Gaze of a face crop, ResNet-50.

    The published names of the heads are crossed: ``fc_yaw_gaze`` is the horizontal angle and
    is what the published code calls pitch. :func:`featflow.nodes.networks.decode.l2cs_angles`
    puts the names right.
    """

    def __init__(self) -> None:
        super().__init__(Bottleneck, RESNET50)
        self.fc_yaw_gaze = nn.Linear(2048, BINS)
        self.fc_pitch_gaze = nn.Linear(2048, BINS)
        # A left-over of an earlier design; in the checkpoint, never used.
        self.fc_finetune = nn.Linear(2048 + 3, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # type: ignore[override]
        """(N, 3, H, W), ImageNet-normalised, to the logits of both heads, (N, 90) each."""
        features = pooled(super().forward(x)[-1])
        return self.fc_yaw_gaze(features), self.fc_pitch_gaze(features)
