"""The pose network: a small perceptron on 68 points, exact under turns and mirrors."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featflow.geometry.landmarks import MIRROR_68
from featflow.geometry.mean_face import FACE68_CM

N_OUT = 9
# How the raw outputs change in a mirror: left axis, up axis, log scale, offset of the origin.
_MIRROR_SIGNS = (1.0, -1.0, -1.0, -1.0, 1.0, 1.0, 1.0, -1.0, 1.0)


class PoseNet(nn.Module):
    """Rotation, scale and origin of a head from its 68 points.

    Points are first turned so that they meet a frontal face best, and the answer is turned
    back: a turn of the picture changes the answer by that turn and nothing else. The mean of
    the answers for the points and for their mirror image makes it exact under mirrors too.

    Args:
        width: units in each hidden layer.
        depth: number of hidden layers.
    """

    def __init__(self, width: int = 192, depth: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 2 * len(MIRROR_68)
        for _ in range(depth):
            layers += [nn.Linear(inputs, width), nn.LayerNorm(width), nn.SiLU()]
            inputs = width
        self.layers = nn.Sequential(*layers, nn.Linear(inputs, N_OUT))
        frontal = torch.tensor(FACE68_CM[:, :2].copy(), dtype=torch.float32)
        self.register_buffer("frontal", frontal - frontal.mean(0), persistent=False)
        self.register_buffer("partner", torch.tensor(MIRROR_68.copy()), persistent=False)
        self.register_buffer("signs", torch.tensor(_MIRROR_SIGNS), persistent=False)
        self.frontal: Tensor
        self.partner: Tensor
        self.signs: Tensor

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised points to rotation, scale and origin.

        Args:
            points: (N, 68, 2) image points, x right and y down, mean 0 and RMS distance 1.

        Returns:
            Rotations (N, 3, 3); log of pixels per centimetre in units of the RMS distance,
            (N,); position (N, 2) of the head's origin in the same units, y down.
        """
        upward = points * points.new_tensor([1.0, -1.0])
        turn = self._turn(upward)
        upright = _rotate(upward, turn, back=True)
        raw = self._both_sides(upright)
        rotation = _around_z(turn) @ rotation_from_sixd(raw[:, :6])
        origin = _rotate(raw[:, None, 7:9], turn)[:, 0]
        return rotation, raw[:, 6], origin * origin.new_tensor([1.0, -1.0])

    def _turn(self, upward: Tensor) -> Tensor:
        """Cosine and sine (N, 2) of the turn that carries the frontal face to the points."""
        cos = (upward * self.frontal).sum((1, 2))
        sin = (self.frontal[:, 0] * upward[..., 1] - self.frontal[:, 1] * upward[..., 0]).sum(1)
        return F.normalize(torch.stack([cos, sin], -1), dim=-1)

    def _both_sides(self, upright: Tensor) -> Tensor:
        mirrored = upright[:, self.partner] * upright.new_tensor([-1.0, 1.0])
        plain, other = self.layers(torch.cat([upright, mirrored]).flatten(1)).chunk(2)
        return torch.as_tensor((plain + other * self.signs) / 2)


def rotation_from_sixd(sixd: Tensor) -> Tensor:
    """Matrices (N, 3, 3) from the left and up axes (N, 6), orthonormalised (Zhou et al. 2019)."""
    first = F.normalize(sixd[:, :3], dim=-1)
    second = sixd[:, 3:] - (first * sixd[:, 3:]).sum(-1, keepdim=True) * first
    second = F.normalize(second, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], -1)


def _rotate(points: Tensor, turn: Tensor, back: bool = False) -> Tensor:
    """Turn points (N, P, 2), y up, by the angles whose cosine and sine are ``turn`` (N, 2)."""
    cos, sin = turn[:, None, 0], turn[:, None, 1]
    sin = -sin if back else sin
    x, y = points[..., 0], points[..., 1]
    return torch.stack([cos * x - sin * y, sin * x + cos * y], -1)


def _around_z(turn: Tensor) -> Tensor:
    """Rotation matrices (N, 3, 3) about the axis towards the camera."""
    cos, sin = turn.unbind(-1)
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    rows = [cos, -sin, zero, sin, cos, zero, zero, zero, one]
    return torch.stack(rows, -1).view(-1, 3, 3)
