"""Head pose from 68 landmarks: the multilayer perceptron that py-feat distilled from img2pose."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class PoseMLP(nn.Module):
    """Linear, layer norm, GELU and dropout, three times, and a linear output.

    Args:
        hidden: widths of the hidden layers (they stand in the checkpoint's JSON file).
        dropout: part of the hidden values that training drops.
    """

    def __init__(self, hidden: Sequence[int] = (512, 256, 128), dropout: float = 0.15) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 136
        for width in hidden:
            layers += [nn.Linear(inputs, width), nn.LayerNorm(width), nn.GELU()]
            layers.append(nn.Dropout(dropout))
            inputs = width
        self.net = nn.Sequential(*layers, nn.Linear(inputs, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 136) normalised landmarks, all x and then all y, to (N, 6) standardised pose."""
        pose: torch.Tensor = self.net(x)
        return pose
