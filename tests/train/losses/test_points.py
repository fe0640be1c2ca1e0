import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from featflow.errors import ArrayError, OptionError
from featflow.nodes.landmark.tiny import training
from featflow.train.losses import concordance_loss, wing_loss


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=8), st.floats(0.1, 15), st.floats(0.01, 3))
def test_wing_is_fengs_formula(errors, width, curvature):
    constant = width - width * np.log(1 + width / curvature)
    wanted = [
        width * np.log(1 + abs(e) / curvature) if abs(e) < width else abs(e) - constant
        for e in errors
    ]
    got = wing_loss(torch.tensor(errors).double(), width, curvature).item()
    assert got == pytest.approx(np.mean(wanted), rel=1e-6)


def test_the_landmark_node_trains_with_this_very_loss():
    assert training.wing_loss is wing_loss


def test_wing_gradient():
    errors = torch.tensor([-0.4, -0.1, 0.02, 0.14, 0.3], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(wing_loss, errors)
    with pytest.raises(OptionError):
        wing_loss(errors, width=0.0)


def lin(one, other):
    """Lin's coefficient from numpy's covariance matrix."""
    (a, c), (_, b) = np.cov(one, other, bias=True)
    return 2 * c / (a + b + (one.mean() - other.mean()) ** 2)


@settings(deadline=None)
@given(arrays(float, (7, 2), elements=st.floats(-3, 3, width=16)))
def test_concordance_is_lins_formula(numbers):
    one, other = numbers.T + np.array([[1.0], [0.0]]) * np.arange(7)
    if one.std() < 0.1 or other.std() < 0.1:
        return
    got = concordance_loss(torch.from_numpy(one), torch.from_numpy(other)).item()
    assert got == pytest.approx(1 - lin(one, other), abs=1e-6)


def test_concordance_of_columns_is_their_mean():
    rng = np.random.default_rng(0)
    one, other = rng.normal(0, 1, (50, 3)), rng.normal(1, 2, (50, 3))
    got = concordance_loss(torch.from_numpy(one), torch.from_numpy(other)).item()
    assert got == pytest.approx(np.mean([1 - lin(one[:, k], other[:, k]) for k in range(3)]))


def test_concordance_sees_a_wrong_mean_where_a_correlation_does_not():
    x = torch.linspace(0, 1, 20, dtype=torch.float64)
    assert concordance_loss(x, x).item() == 0
    assert concordance_loss(x, x + 1).item() > 0.5
    assert concordance_loss(x, 3 * x).item() > 0.5
    assert concordance_loss(x - x.mean(), x.mean() - x).item() == pytest.approx(2, abs=1e-6)


def test_concordance_of_constants_and_its_gradient():
    flat = torch.full((6,), 0.3, dtype=torch.float64, requires_grad=True)
    value = concordance_loss(flat, flat.detach())
    value.backward()
    assert value.item() == 0
    assert torch.isfinite(flat.grad).all()
    x = torch.linspace(0, 1, 6, dtype=torch.float64, requires_grad=True)
    target = x.detach().clone() ** 2
    assert torch.autograd.gradcheck(lambda p: concordance_loss(p, target), x)


def test_concordance_needs_two_rows_of_one_shape():
    for one, other in (((3,), (4,)), ((1,), (1,)), ((2, 3, 4), (2, 3, 4))):
        with pytest.raises(ArrayError, match="concordance"):
            concordance_loss(torch.rand(one), torch.rand(other))
