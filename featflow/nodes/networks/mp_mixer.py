"""The MLP mixer (Tolstikhin et al. 2021, arXiv:2105.01601) that MediaPipe uses for blendshapes."""

from __future__ import annotations

import torch
from torch import nn

POINTS, TOKENS, CHANNELS, OUTPUTS = 146, 97, 64, 52

# fmt: off
MESH_POINTS: tuple[int, ...] = (
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63,
    65, 66, 67, 70, 78, 80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133,
    136, 144, 145, 146, 148, 149, 150, 152, 153, 154, 155, 157, 158, 159, 160, 161, 162, 163,
    168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263, 267, 269, 270,
    276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317,
    318, 321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379,
    380, 381, 382, 384, 385, 386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454,
    466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477,
)
# fmt: on
"""Which of MediaPipe's 478 mesh points the mixer sees, in its order (Apache-2.0)."""

# fmt: off
BLENDSHAPES: tuple[str, ...] = (
    "_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft",
    "browOuterUpRight", "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft",
    "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight",
    "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft",
    "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen",
    "jawRight", "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft",
    "mouthFrownRight", "mouthFunnel", "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight",
    "mouthPressLeft", "mouthPressRight", "mouthPucker", "mouthRight", "mouthRollLower",
    "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft", "mouthSmileRight",
    "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight",
)
# fmt: on
"""Names of the outputs; left and right are the subject's."""


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
        self.output_mlp = nn.Conv2d(CHANNELS, OUTPUTS, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Read the face's expression.

        Args:
            x: (N, 146, 2) the :data:`MESH_POINTS` in any unit; position and scale are taken
                out here.

        Returns:
            (N, 52, 1, 1), 0 to 1, in the order of :data:`BLENDSHAPES`.
        """
        x = x - x.mean(1, keepdim=True)
        x = x / x.norm(dim=2, keepdim=True).mean(1, keepdim=True) * 0.5
        x = self.conv1(x.unsqueeze(2)).transpose(1, 3)
        x = self.conv2(x)
        token = self.extra_token.expand(len(x), -1, -1, -1)
        x = torch.cat([token, x], 3).transpose(1, 3)
        x = self.mlpmixer_blocks(x)
        return torch.sigmoid(self.output_mlp(x[:, :1].transpose(1, 3)))
