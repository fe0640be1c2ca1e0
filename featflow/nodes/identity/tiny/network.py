"""The identity network: a small residual network and one weighted look at its last map."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from featflow.nodes._layers import ConvNorm, Residual

DIMENSIONS = 128
STRIDE = 16


class IdentityNet(nn.Module):
    """Unit vectors of aligned crops; the more alike two faces, the larger their dot product.

    The last map is summed with a weight of its own for each place and channel, so that an eye
    and a mouth count differently (global depthwise convolution, Chen et al. 2018).

    Args:
        size: side of the input in pixels, a multiple of 16.
        widths: channels at strides 2, 4, 8 and 16.
        blocks: residual blocks at strides 4, 8 and 16.
    """

    def __init__(
        self,
        size: int = 64,
        widths: tuple[int, int, int, int] = (24, 48, 96, 160),
        blocks: tuple[int, int, int] = (1, 2, 1),
    ) -> None:
        super().__init__()
        w2, w4, w8, w16 = widths
        self.body = nn.Sequential(
            ConvNorm(3, w2, stride=2),
            ConvNorm(w2, w4, stride=2),
            *[Residual(w4) for _ in range(blocks[0])],
            ConvNorm(w4, w8, stride=2),
            *[Residual(w8) for _ in range(blocks[1])],
            ConvNorm(w8, w16, stride=2),
            *[Residual(w16) for _ in range(blocks[2])],
        )
        self.places = nn.Conv2d(w16, w16, size // STRIDE, groups=w16, bias=False)
        self.level = nn.BatchNorm1d(w16)
        self.embed = nn.Linear(w16, DIMENSIONS, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Crops (N, 3, size, size) to unit vectors (N, 128)."""
        seen = self.places(self.body(x)).flatten(1)
        return F.normalize(self.embed(self.level(seen)))


def both_ways(model: nn.Module, crops: Tensor) -> Tensor:
    """Unit vectors (N, 128) of crops (N, 3, S, S) seen as they are and in a mirror.

    A face and its mirror image get the same vector, and what the network makes of one side
    alone weighs half.
    """
    return F.normalize(model(crops) + model(crops.flip(-1)))
