"""A task of two parameters, so that the trainer can be checked against closed formulas."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from featflow.train.recipe import Optim, Recipe

SLOPE, OFFSET = 2.5, -1.25


class Line(nn.Module):
    """``y = w x + b`` with a batch norm's running mean beside it, as networks have."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1, 1)
        self.norm = nn.BatchNorm1d(1)

    def forward(self, x):
        self.norm(x)
        return self.linear(x)


class LineTask:
    """Fit a line; batches named in ``poison`` hold a NaN."""

    data_version = "synthetic line"

    def __init__(self, recipe, poison=(), stop=None, fail=None):
        torch.manual_seed(recipe.seed)
        self.model = Line()
        self.poison, self.stop, self.fail = poison, stop, fail
        self.seeds, self.steps = [], []

    def batches(self, seed):
        self.seeds.append(seed)
        rng = np.random.default_rng(seed)
        count = 0
        while self.stop is None or count < self.stop:
            if count == self.fail:
                raise RuntimeError("disk on fire")
            x = torch.from_numpy(rng.normal(0, 1, (16, 1)).astype(np.float32))
            if count in self.poison:
                x[0] = torch.nan
            yield {"x": x, "y": SLOPE * x + OFFSET}
            count += 1

    def loss(self, model, batch, step):
        self.steps.append(step)
        error = (model(batch["x"]) - batch["y"]).square().mean()
        return {"loss": error, "double": 2 * error}

    def validate(self, model):
        assert not model.training
        with torch.no_grad():
            return {"slope": model.linear.weight.item(), "offset": model.linear.bias.item()}


@pytest.fixture
def line():
    """``line(steps=..., poison=..., **optim)`` gives a recipe and its task."""

    def make(steps=10, poison=(), stop=None, fail=None, seed=3, node="toy/line", **optim):
        chosen = {"batch_size": 16, "lr": 0.1, "warmup": 10, "weight_decay": 0.0, "ema": 0.9}
        recipe = Recipe(node, seed, Optim(steps=steps, **{**chosen, **optim}), path=Path("r.toml"))
        return recipe, LineTask(recipe, poison, stop, fail)

    return make
