import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from featflow.errors import OptionError
from featflow.train.clipping import GradClip


def parameters(*grads):
    made = []
    for grad in grads:
        parameter = torch.nn.Parameter(torch.zeros(len(grad)))
        parameter.grad = torch.tensor(grad)
        made.append(parameter)
    return [*made, torch.nn.Parameter(torch.zeros(2))]


def grads(params):
    return [p.grad.numpy() for p in params if p.grad is not None]


def test_each_method_is_its_formula():
    first, second = np.array([3.0, -4.0], "f4"), np.array([0.0, 12.0, 0.5], "f4")
    whole = np.linalg.norm([*first, *second])
    for method, value, wanted in (
        ("none", 1.0, (first, second)),
        ("value", 3.5, (first.clip(-3.5, 3.5), second.clip(-3.5, 3.5))),
        ("norm", 6.0, (first, second * 6 / np.linalg.norm(second))),
        ("global_norm", 6.5, (first * 6.5 / whole, second * 6.5 / whole)),
        ("global_norm", 20.0, (first, second)),
    ):
        params = parameters(first.tolist(), second.tolist())
        assert GradClip(method, value)(params) == pytest.approx(whole)
        for got, expected in zip(grads(params), wanted, strict=True):
            assert got == pytest.approx(expected, rel=1e-5), method


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(0.01, 100), min_size=1, max_size=30),
    st.floats(1, 100),
    st.integers(1, 12),
)
def test_autoclip_is_numpys_percentile_of_the_history(norms, percentile, history):
    clip = GradClip("autoclip", percentile, history)
    for index, norm in enumerate(norms):
        params = parameters([norm * 0.6, norm * 0.8])
        seen = clip(params)
        past = [float(np.float32(n)) for n in norms[max(0, index + 1 - history) : index + 1]]
        bound = np.percentile(past, percentile)
        assert seen == pytest.approx(norm, rel=1e-5)
        assert np.linalg.norm(grads(params)[0]) == pytest.approx(min(norm, bound), rel=1e-4)


def test_the_percentile_means_what_it_says():
    clip = GradClip("autoclip", 10.0)
    for norm in range(1, 11):
        params = parameters([float(norm)])
        clip(params)
    assert grads(params)[0][0] == pytest.approx(np.percentile(np.arange(1, 11), 10))


@pytest.mark.parametrize("method", ["autoclip", "global_norm", "value", "norm"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_norms_that_are_not_finite_are_reported_and_not_remembered(method, bad):
    clip = GradClip(method, 1.0)
    params = parameters([1.0, bad])
    assert not math.isfinite(clip(params))
    assert grads(params)[0][0] == 1.0
    assert len(clip.norms) == 0


def test_the_history_is_saved():
    one, other = GradClip("autoclip", 50.0, 5), GradClip("autoclip", 50.0, 5)
    for norm in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0):
        one(parameters([norm]))
    other.load_state_dict(one.state_dict())
    assert list(other.norms) == [2, 3, 4, 5, 6]
    first, second = parameters([9.0]), parameters([9.0])
    one(first)
    other(second)
    assert grads(first)[0] == grads(second)[0] == np.percentile([3, 4, 5, 6, 9], 50)


@pytest.mark.parametrize(
    "options",
    [("autoclp", 1.0), ("value", 0.0), ("norm", math.nan), ("autoclip", 101.0), ("norm", 1.0, 0)],
)
def test_unusable_options_are_refused(options):
    with pytest.raises(OptionError):
        GradClip(*options)
