"""The mask network: full resolution, no shift, small."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from featflow.nodes.mask.tiny.network import MaskNet


def test_each_channel_of_the_head_is_one_of_four_pixels() -> None:
    net = MaskNet((4, 4, 4, 4)).eval()

    class Fixed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out = torch.zeros(len(x), 4, x.shape[2], x.shape[3])
            out[:, 1, 3, 5] = 7.0  # above right of the four
            return out

    net.head = Fixed()
    logits = net(torch.zeros(2, 3, 96, 96))
    assert logits.shape == (2, 96, 96)
    assert logits[0].nonzero().tolist() == [[6, 11]]


@pytest.mark.parametrize("size", [64, 96])
def test_any_multiple_of_sixteen(size: int) -> None:
    assert MaskNet((4, 4, 4, 4))(torch.zeros(2, 3, size, size)).shape == (2, size, size)


def test_the_network_is_small() -> None:
    assert sum(p.numel() for p in MaskNet().parameters()) < 0.3e6
