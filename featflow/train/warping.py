"""Maps of the plane in torch: affine maps, grids of nodes, splines through points.

Coordinates are continuous pixels (x, y), as in :mod:`featflow.geometry`: the centre of the first
pixel lies at 0.5, 0.5. A field says for each pixel of the output where in the source it lies.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

SPLINE_STEP = 4
"""Pixels between the nodes at which a spline is computed."""


def pixel_centres(size: int) -> Tensor:
    """(size, size, 2) continuous coordinates of the pixels of a square."""
    along = torch.arange(size) + 0.5
    y, x = torch.meshgrid(along, along, indexing="ij")
    return torch.stack([x, y], -1)


def carry(matrix: Tensor, points: Tensor) -> Tensor:
    """Carry points (N, ..., 2) through maps (N, 2, 3)."""
    # Written out: a batched product of 2 x 2 matrices takes four times as long.
    x, y = points.unbind(-1)
    rows = matrix.reshape(len(matrix), *(1,) * (points.ndim - 2), 2, 3).unbind(-2)
    moved = [row[..., 0] * x + row[..., 1] * y + row[..., 2] for row in rows]
    return torch.stack(moved, -1)


def node_places(count: int, size: int) -> Tensor:
    """(count, count, 2) coordinates of nodes that span a square from edge to edge."""
    along = torch.linspace(0, size, count)
    y, x = torch.meshgrid(along, along, indexing="ij")
    return torch.stack([x, y], -1)


def inverse(matrix: Tensor) -> Tensor:
    """Inverse of affine maps (N, 2, 3)."""
    linear = torch.linalg.inv(matrix[:, :, :2])
    return torch.cat([linear, -linear @ matrix[:, :, 2:]], -1)


def about_centre(angle: Tensor, zoom: Tensor, shift: Tensor, size: int) -> Tensor:
    """Maps (N, 2, 3) that turn and zoom about the centre of a square, then shift.

    Args:
        angle: (N,) radians; positive turns x towards y, clockwise as seen.
        zoom: (N,) factor; above 1 enlarges.
        shift: (N, 2) pixels.
        size: side of the square.
    """
    cos, sin = zoom * torch.cos(angle), zoom * torch.sin(angle)
    linear = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    centre = torch.full((2, 1), size / 2)
    return torch.cat([linear, centre - linear @ centre + shift[..., None]], -1)


def mirror(flipped: Tensor, size: int) -> Tensor:
    """Maps (N, 2, 3) that mirror left and right where ``flipped`` (N,) says so."""
    matrix = torch.zeros(len(flipped), 2, 3)
    matrix[:, 0, 0] = torch.where(flipped, -1.0, 1.0)
    matrix[:, 0, 2] = torch.where(flipped, float(size), 0.0)
    matrix[:, 1, 1] = 1.0
    return matrix


def compose(second: Tensor, first: Tensor) -> Tensor:
    """The map that applies ``first`` and then ``second``, (N, 2, 3)."""
    linear = second[:, :, :2] @ first[:, :, :2]
    return torch.cat([linear, second[:, :, :2] @ first[:, :, 2:] + second[:, :, 2:]], -1)


def spread(nodes: Tensor, size: int) -> Tensor:
    """Values at pixel centres, linear between nodes that span the square from edge to edge.

    Args:
        nodes: (N, G, G, 2); the first and last lie on the edges.
        size: side of the square in pixels.

    Returns:
        (N, size, size, 2).
    """
    pictures, count = nodes.shape[:2]
    hat, both = _hats(count, size)
    rows = torch.matmul(hat, nodes.reshape(pictures, count, count * 2))
    return torch.matmul(rows.reshape(-1, count * 2), both).reshape(pictures, size, size, 2)


@lru_cache(maxsize=8)
def _hats(count: int, size: int) -> tuple[Tensor, Tensor]:
    """Part of each node at each pixel centre, (size, count); and (2 count, 2 size) for rows.

    Along a row x and y alternate, so their weights do too: one product serves both.
    """
    position = (torch.arange(size) + 0.5) / size * (count - 1)
    hat = (1 - (position[:, None] - torch.arange(count)).abs()).clamp(min=0)
    return hat, torch.kron(hat.T.contiguous(), torch.eye(2))


def spline(where: Tensor, value: Tensor, at: Tensor, smooth: float = 1e-5) -> Tensor:
    """Thin-plate splines (Bookstein 1989) through values at points.

    Args:
        where: (N, P, 2) points, in units in which the square has side 1.
        value: (N, P, 2) what to take there.
        at: (M, 2) where to evaluate.
        smooth: how far the spline may miss, so that points that nearly coincide with different
            values do not tear the plane.

    Returns:
        (N, M, 2).
    """
    count, points = where.shape[:2]
    where, value, at = where.double(), value.double(), at.double()
    kernel = _bend(torch.cdist(where, where)) + smooth * torch.eye(points, dtype=torch.float64)
    affine = torch.cat([torch.ones_like(where[..., :1]), where], -1)
    system = torch.zeros(count, points + 3, points + 3, dtype=torch.float64)
    system[:, :points, :points] = kernel
    system[:, :points, points:], system[:, points:, :points] = affine, affine.mT
    wanted = torch.cat([value, value.new_zeros(count, 3, 2)], 1)
    weights: Tensor = torch.linalg.solve(system, wanted)
    here = torch.cat([torch.ones_like(at[:, :1]), at], -1)
    near = _bend(torch.cdist(at.expand(count, -1, -1), where))
    bent = near @ weights[:, :points] + here @ weights[:, points:]
    return bent.float()


def _bend(distance: Tensor) -> Tensor:
    return torch.xlogy(distance.square(), distance.clamp(min=1e-12))


def landmark_nodes(seen: Tensor, source: Tensor, size: int) -> Tensor:
    """Shifts of a grid that show at ``seen`` what stood at ``source`` and keep the edge.

    Args:
        seen: (N, P, 2) where points shall lie, pixels.
        source: (N, P, 2) where they lie, pixels.
        size: side of the square.

    Returns:
        (N, G, G, 2) pixels, for :func:`spread`.
    """
    ends = torch.tensor([0.0, 0.5, 1.0])
    anchors = torch.cartesian_prod(ends, ends)
    anchors = anchors[(anchors != 0.5).any(1)].expand(len(seen), -1, -1)
    where = torch.cat([seen / size, anchors], 1)
    moved = torch.cat([(source - seen) / size, torch.zeros_like(anchors)], 1)
    at = node_places(max(2, size // SPLINE_STEP + 1), 1)
    nodes = spline(where, moved, at.reshape(-1, 2))
    return nodes.reshape(len(seen), *at.shape) * size


def field_of(nodes: Tensor, size: int) -> Tensor:
    """Field (N, size, size, 2) that is moved by shifts at nodes."""
    return spread(node_places(nodes.shape[1], size) + nodes, size)


def sample(images: Tensor, field: Tensor) -> Tensor:
    """Look up (N, C, H, W) at a field (N, h, w, 2), bilinear, the edge repeated."""
    height, width = images.shape[-2:]
    return sample_unit(images, field * torch.tensor([2 / width, 2 / height]) - 1)


def sample_unit(images: Tensor, grid: Tensor) -> Tensor:
    """The same at coordinates (N, h, w, 2) in which the picture spans -1..1."""
    found: Tensor = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return found


def follow_points(points: Tensor, field: Tensor, rounds: int = 8) -> Tensor:
    """Where points (N, P, 2) of the source appear in the output of a field.

    Solves ``field(q) = p`` by repeated substitution, which settles wherever the field stretches
    by less than half.
    """
    size = field.shape[1]
    shift = (field - pixel_centres(size)).permute(0, 3, 1, 2)
    seen = points
    for _ in range(rounds):
        seen = points - sample(shift, seen[:, :, None])[..., 0].mT
    return seen
