import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from featflow.evaluation.agreement import ccc
from featflow.nodes.au.tiny.losses import LEAST_VARIANCE, discord, unit_loss


@settings(deadline=None)
@given(st.floats(-4, 4), st.floats(0, 1), st.floats(0.02, 0.5))
def test_cross_entropy_over_spread_is_the_formula(logit, truth, spread):
    p = 1 / (1 + np.exp(-logit))
    wanted = -(truth * np.log(p) + (1 - truth) * np.log(1 - p)) / spread
    args = (torch.tensor([[x]], dtype=torch.float64) for x in (logit, truth))
    found = unit_loss(*args, torch.tensor([spread], dtype=torch.float64))
    assert found.item() == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def test_unknown_values_cost_nothing_and_teach_nothing():
    logits = torch.tensor([[0.5, 3.0], [0.5, -2.0]], requires_grad=True)
    truth = torch.tensor([[0.2, torch.nan], [0.9, torch.nan]])
    loss = unit_loss(logits, truth, torch.ones(2))
    loss.backward()
    assert loss.item() == pytest.approx(
        unit_loss(logits[:, :1], truth[:, :1], torch.ones(1)).item()
    )
    assert torch.equal(logits.grad[:, 1], torch.zeros(2))
    assert torch.isfinite(logits.grad).all()


def test_nothing_known_at_all_is_zero():
    nothing = torch.full((3, 2), torch.nan)
    assert unit_loss(torch.randn(3, 2), nothing, torch.ones(2)).item() == 0.0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_discord_is_one_minus_concordance(seed):
    rng = np.random.default_rng(seed)
    truth = rng.random((50, 3))
    predicted = np.clip(0.5 * truth + 0.5 * rng.random((50, 3)), 0, 1)
    mixed = np.where([True, False, True], truth, np.nan)
    wanted = []
    for column in (0, 2):
        a, b = truth[:, column], predicted[:, column]
        total = a.var() + b.var() + (a.mean() - b.mean()) ** 2
        wanted.append(1 - ccc(a, b) * total / (total + LEAST_VARIANCE))
    found = discord(torch.from_numpy(predicted), torch.from_numpy(mixed))
    assert found.item() == pytest.approx(np.mean(wanted), abs=1e-9)


def test_discord_of_the_truth_is_nearly_nothing_and_of_its_opposite_nearly_two():
    truth = torch.linspace(0, 1, 101).double()[:, None]
    assert discord(truth, truth).item() == pytest.approx(0, abs=1e-3)
    assert discord(1 - truth, truth).item() == pytest.approx(2, abs=1e-3)
