"""Blocks that change maps in place: their gradients are right, and inputs stay as they are."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from featflow.nodes.networks import inception_resnet, iresnet, resnet
from featflow.nodes.networks.resmasknet import Mask

BLOCKS = {
    "basic": lambda: resnet.BasicBlock(4, 4),
    "basic with a projection": lambda: resnet.BasicBlock(4, 6, 2),
    "bottleneck": lambda: resnet.Bottleneck(4, 1),
    "IR-50": lambda: iresnet.Block(4, 4, 1),
    "IR-50 with a stride": lambda: iresnet.Block(4, 6, 2),
    "inception": lambda: inception_resnet.split_block(4, 3, 3, 0.2),
    "inception without ReLU": lambda: inception_resnet.split_block(4, 3, 3, 1.0, relu=False),
    "mask": lambda: Mask(4, 2),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_gradients_equal_differences(name: str) -> None:
    torch.manual_seed(0)
    block = BLOCKS[name]().double().eval()
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.running_mean)
    x = torch.randn(1, 4, 4, 4, dtype=torch.float64, requires_grad=True)
    before = x.detach().clone()
    assert torch.autograd.gradcheck(block, (x,))
    assert torch.equal(x.detach(), before)
