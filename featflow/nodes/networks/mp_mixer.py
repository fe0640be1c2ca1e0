"""The MLP mixer (Tolstikhin et al. 2021, arXiv:2105.01601) that MediaPipe uses for blendshapes."""

from __future__ import annotations

import torch
from torch import nn

POINTS, TOKENS, CHANNELS, BLENDSHAPES = 146, 97, 64, 52


def mlp(size: int, hidden: int) -> nn.Sequential:
    """Two 1x1 convolutions over axis 1; the dropout keeps the published key numbers."""
    widen, narrow = nn.Conv2d(size, hidden, 1), nn.Conv2d(hidden, size, 1)
    return nn.Sequential(widen, nn.ReLU(inplace=True), nn.Dropout(0.0), narrow)


class MixerBlock(nn.Module):
    """Mix the tokens, then the channels, each behind a layer norm without bias."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp_token_mixing = mlp(TOKENS, 384)
        self.mlp_channel_mixing = mlp(CHANNELS, 256)
        self.norm1 = nn.LayerNorm(CHANNELS, eps=1e-6, bias=False)
        self.norm2 = nn.LayerNorm(CHANNELS, eps=1e-6, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 97, 1, 64) to the same shape."""
        x = x + self.mlp_token_mixing(self.norm1(x))
        mixed: torch.Tensor = self.mlp_channel_mixing(self.norm2(x).transpose(1, 3))
        return x + mixed.transpose(1, 3)


class BlendshapeMixer(nn.Module):
    """52 blendshapes from 146 mesh points."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(POINTS, TOKENS - 1, 1)
        self.conv2 = nn.Conv2d(2, CHANNELS, 1)
        self.extra_token = nn.Parameter(torch.zeros(1, CHANNELS, 1, 1))
        self.mlpmixer_blocks = nn.Sequential(*(MixerBlock() for _ in range(4)))
        self.output_mlp = nn.Conv2d(CHANNELS, BLENDSHAPES, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Read the face's expression.

        Args:
            x: (N, 146, 2) mesh points in any unit; position and scale are taken out here.

        Returns:
            (N, 52, 1, 1), 0 to 1, in MediaPipe's order.
        """
        x = x - x.mean(1, keepdim=True)
        x = x / x.norm(dim=2, keepdim=True).mean(1, keepdim=True) * 0.5
        x = self.conv1(x.unsqueeze(2)).transpose(1, 3)
        x = self.conv2(x)
        token = self.extra_token.expand(len(x), -1, -1, -1)
        x = torch.cat([token, x], 3).transpose(1, 3)
        x = self.mlpmixer_blocks(x)
        return torch.sigmoid(self.output_mlp(x[:, :1].transpose(1, 3)))
