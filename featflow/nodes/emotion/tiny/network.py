"""The expression network: the trunk of ``landmark/tiny`` and one linear layer of seven classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featflow.fex.schema import EMOTIONS
from featflow.nodes._layers import ConvNorm, Residual

N_CLASSES = len(EMOTIONS)


class EmotionNet(nn.Module):
    """Logits of seven expressions from a grey aligned crop.

    The trunk has the layers of :class:`featflow.nodes.landmark.tiny.network.LandmarkNet`, so that
    training can begin with what that network knows of faces. Where in the face something is seen
    matters, so the last map is weighted place by place (a depthwise convolution as large as the
    map, Chen et al. 2018, arXiv 1804.07573) rather than averaged.

    Attributes:
        prior: (7,) share of each class in what the network learned from; part of the weights.

    Args:
        size: side of the input in pixels, a multiple of 16.
        widths: channels at strides 2, 4, 8 and 16.
        blocks: residual blocks at strides 4, 8 and 16.
        features: numbers that the classes are read from.
        dropout: part of them that is left out in training.
    """

    def __init__(
        self,
        size: int = 64,
        widths: tuple[int, int, int, int] = (16, 32, 64, 128),
        blocks: tuple[int, int, int] = (1, 2, 2),
        features: int = 256,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        w2, w4, w8, w16 = widths
        self.stem = nn.Sequential(ConvNorm(1, w2, stride=2), ConvNorm(w2, w4, stride=2))
        self.stage4 = nn.Sequential(*[Residual(w4) for _ in range(blocks[0])])
        self.stage8 = nn.Sequential(
            ConvNorm(w4, w8, stride=2), *[Residual(w8) for _ in range(blocks[1])]
        )
        self.stage16 = nn.Sequential(
            ConvNorm(w8, w16, stride=2), *[Residual(w16) for _ in range(blocks[2])]
        )
        self.widen = ConvNorm(w16, features, 1)
        self.places = nn.Conv2d(features, features, size // 16, groups=features)
        self.dropout = nn.Dropout(dropout)
        self.classes = nn.Linear(features, N_CLASSES)
        self.register_buffer("prior", torch.full((N_CLASSES,), 1 / N_CLASSES))
        self.prior: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Crops (N, 1, size, size) to logits (N, 7)."""
        seen = self.stage16(self.stage8(self.stage4(self.stem(x))))
        features = F.relu(self.places(self.widen(seen)).flatten(1))
        logits: Tensor = self.classes(self.dropout(features))
        return logits


def both_ways(model: nn.Module, x: Tensor) -> Tensor:
    """Mean logits (N, 7) of crops (N, 1, size, size) and of their mirror images.

    A mirror changes no expression, so it must change no answer.
    """
    straight, mirrored = model(torch.cat([x, x.flip(-1)])).chunk(2)
    mean: Tensor = (straight + mirrored) / 2
    return mean
