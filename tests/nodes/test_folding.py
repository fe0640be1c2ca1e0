"""Folded networks against the same networks as published."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from featflow.nodes._folding import fold_traced
from featflow.nodes.networks import network
from featflow.nodes.networks.layers import FrozenBatchNorm2d

KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, FrozenBatchNorm2d)


def norms(model):
    return [name for name, module in model.named_modules() if isinstance(module, KINDS)]


def outputs(model, x):
    with torch.inference_mode():
        found = model(x)
    return [part.numpy() for part in (found if isinstance(found, tuple) else (found,))]


def test_img2pose_says_the_same_when_folded(expectation):
    with torch.device("meta"):
        model = network("img2pose")
    weights = expectation("img2pose").weights()
    weights["rpn.head.bbox_pred.weight"] *= 0.02  # as its expectations were made
    model.load_state_dict(weights, assign=True)
    x = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    expected = outputs(model, x)
    assert len(norms(model)) == 21
    assert fold_traced(model) is model
    assert norms(model) == []
    for found, wanted in zip(outputs(model, x), expected, strict=True):
        np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))  # no further region
        assert np.nanmax(np.abs(found - wanted)) < 1e-4 * np.nanmax(np.abs(wanted))


class Odd(nn.Module):
    """Norms that may be merged, and some that may not."""

    def __init__(self):
        super().__init__()
        self.plain, self.plain_norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.alias = self.plain
        self.used_twice, self.used_twice_norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.runs_twice, self.runs_twice_norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.before_norm, self.before = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)
        self.up, self.up_norm = nn.ConvTranspose2d(4, 6, 2, 2), nn.BatchNorm2d(6)
        self.grouped, self.grouped_norm = nn.ConvTranspose2d(6, 4, 2, groups=2), nn.BatchNorm2d(4)
        self.frozen, self.frozen_norm = nn.Conv2d(4, 4, 1), FrozenBatchNorm2d(4)
        self.linear, self.linear_norm = nn.Linear(4, 5), nn.BatchNorm1d(5)

    def forward(self, x):
        x = F.relu(self.plain_norm(self.plain(x)))
        y = self.used_twice(x)
        x = self.used_twice_norm(y) + y
        x = self.runs_twice_norm(self.runs_twice(x)) + self.runs_twice(x * 2)
        x = self.before(self.before_norm(x))
        x = self.grouped_norm(self.grouped(self.up_norm(self.up(x))))
        x = self.frozen_norm(self.frozen(x))
        return self.linear_norm(self.linear(x.mean((2, 3))))


class Branching(nn.Module):
    """Cannot be traced, because what it does depends on values."""

    def __init__(self):
        super().__init__()
        self.inner, self.conv, self.norm = Odd(), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        x = self.norm(self.conv(x))
        return self.inner(x) if x.mean() > -1e9 else x


def trained(model):
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, KINDS):
            for tensor in (module.running_mean, module.weight.data, module.bias.data):
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
            module.running_var.copy_(torch.rand(module.running_var.shape, generator=generator) + 1)
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("kind", [Odd, Branching])
def test_only_what_may_be_merged_is(kind):
    torch.manual_seed(0)
    model = trained(kind())
    x = torch.randn(5, 3, 9, 9)
    expected = copy.deepcopy(model)(x)
    fold_traced(model)
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-4)
    inner = "" if kind is Odd else "inner."
    kept = {f"{inner}{n}_norm" for n in ("used_twice", "runs_twice", "before", "grouped")}
    assert set(norms(model)) == kept | ({"norm"} if inner else set())
    odd = model if kind is Odd else model.inner
    assert odd.alias is odd.plain
