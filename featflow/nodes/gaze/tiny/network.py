"""The gaze network: one encoder for both eyes, and a perceptron that joins them with the pose."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featflow.geometry.landmarks import MIRROR_68
from featflow.nodes._layers import ConvNorm, Residual

HEIGHT, WIDTH = 32, 48
"""Size of an eye patch in pixels."""

_STRIDE = 2


class Gaze(NamedTuple):
    """What the network says of N faces.

    Attributes:
        angles: (N, 2) pitch and yaw in radians, + up and + to the image left, as seen after the
            face was turned upright.
        logit: (N,) of the confidence.
        iris: (N, 2, 2) x, y of the centre of the iris in the right and the left patch, in pixels
            of the patch.
    """

    angles: Tensor
    logit: Tensor
    iris: Tensor


class EyeEncoder(nn.Module):
    """Features of one eye, among them the place of its iris.

    The iris is the mean of a soft-max over a half-size map (integral regression, Sun et al.
    2018): where it stands in the eye is most of what gaze is.

    Args:
        widths: channels at strides 2, 4 and 8.
        features: numbers besides the place of the iris.
    """

    def __init__(self, widths: tuple[int, int, int], features: int) -> None:
        super().__init__()
        w2, w4, w8 = widths
        self.stem = nn.Sequential(ConvNorm(1, w2, stride=2), ConvNorm(w2, w2))
        self.stage4 = nn.Sequential(ConvNorm(w2, w4, stride=2), Residual(w4))
        self.stage8 = ConvNorm(w4, w8, stride=2)
        self.side = ConvNorm(w4, w2, 1)
        self.heat = nn.Conv2d(w2, 1, 1)
        self.describe = nn.Linear(w8 * (HEIGHT // 8) * (WIDTH // 8), features)
        rows, columns = (torch.arange(n // _STRIDE) + 0.5 for n in (HEIGHT, WIDTH))
        self.register_buffer("rows", rows * _STRIDE, persistent=False)
        self.register_buffer("columns", columns * _STRIDE, persistent=False)
        self.rows: Tensor
        self.columns: Tensor

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Patches (M, 1, 32, 48) to features (M, F + 2) and iris centres (M, 2)."""
        c2 = self.stem(patches)
        c4 = self.stage4(c2)
        heat = self.heat(c2 + F.interpolate(self.side(c4), scale_factor=2.0)).float()
        chance = heat.flatten(1).softmax(-1).view(-1, len(self.rows), len(self.columns))
        x = (chance.sum(1) * self.columns).sum(-1)
        y = (chance.sum(2) * self.rows).sum(-1)
        iris = torch.stack([x, y], -1)
        middle = iris.new_tensor([WIDTH / 2, HEIGHT / 2])
        features = F.relu(self.describe(self.stage8(c4).flatten(1)))
        return torch.cat([features, (iris - middle) / 4], -1), iris


class GazeNet(nn.Module):
    """Gaze from two eye patches and landmarks; a mirror negates yaw exactly.

    Both eyes go through one encoder, the left one mirrored. What follows reads the eyes in both
    orders, with the landmarks as they are and mirrored, and the mean of the two is taken.

    Args:
        widths: channels of the encoder.
        features: numbers that describe an eye.
        hidden: units in the hidden layers.
    """

    def __init__(
        self,
        widths: tuple[int, int, int] = (16, 32, 48),
        features: int = 48,
        hidden: int = 96,
    ) -> None:
        super().__init__()
        self.eye = EyeEncoder(widths, features)
        self.shape = nn.Sequential(nn.Linear(2 * len(MIRROR_68), 48), nn.SiLU())
        self.joint = nn.Sequential(
            nn.Linear(2 * (features + 2) + 48, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, 3),
        )
        self.register_buffer("partner", torch.tensor(MIRROR_68.copy()), persistent=False)
        self.partner: Tensor

    def forward(self, right: Tensor, left: Tensor, points: Tensor) -> Gaze:
        """Both eyes and the face around them to its gaze.

        Args:
            right: (N, 1, 32, 48) the subject's right eye, turned upright.
            left: (N, 1, 32, 48) the left eye, mirrored.
            points: (N, 68, 2) landmarks in the upright unit square, its middle at 0.
        """
        features, iris = self.eye(torch.cat([right, left]))
        one, other = features.chunk(2)
        mirrored = points[:, self.partner] * points.new_tensor([-1.0, 1.0])
        plain = self._joined(one, other, points)
        turned = self._joined(other, one, mirrored) * points.new_tensor([1.0, -1.0, 1.0])
        mean = (plain + turned) / 2
        return Gaze(mean[:, :2], mean[:, 2], iris.view(2, -1, 2).transpose(0, 1))

    def _joined(self, one: Tensor, other: Tensor, points: Tensor) -> Tensor:
        shape = self.shape(points.flatten(1) * 4)
        return torch.as_tensor(self.joint(torch.cat([one, other, shape], -1)))
