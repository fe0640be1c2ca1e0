import copy
import math

import pytest
import torch
from PIL import Image
from torch import nn

from featflow.errors import OptionError, OutputError
from featflow.train.lr_finder import LearningRateFinder, LRStrength
from featflow.train.optim import OptimConfig, Optimiser


class Bowl(nn.Module):
    """Half ``steepness * w ** 2``: plain descent diverges above the rate 2 / steepness."""

    def __init__(self, steepness):
        super().__init__()
        self.weight = nn.Parameter(torch.full((3, 2), 0.7))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.steepness = steepness

    def forward(self):
        self.calls += 1
        return 0.5 * self.steepness * self.weight.square().sum()


def bowl(steepness=40.0, **config):
    model = Bowl(steepness)
    chosen = {"name": "sgd", "lr": 0.003, "momentum": 0.0}
    optimiser = Optimiser(model, OptimConfig(**{**chosen, **config}))

    def train_step():
        loss = model()
        optimiser.backward(loss)
        optimiser.step()
        torch.rand(1)
        return loss.item()

    return model, optimiser, train_step


def finder(optimiser, train_step, **options):
    chosen = {"steps": 300, "start_lr": 1e-6, "end_lr": 10.0}
    return LearningRateFinder(optimiser, train_step, **{**chosen, **options})


@pytest.mark.parametrize("steepness", [4.0, 40.0, 4000.0])
def test_the_rate_of_a_bowl_lies_below_its_stable_limit(steepness):
    _, optimiser, train_step = bowl(steepness)
    found = finder(optimiser, train_step)
    best = found.find()
    limit = 2 / steepness
    assert 0.1 * limit <= best <= limit
    assert best == found.best_lr == optimiser.lr


def test_strengths_divide_the_rate_of_the_lowest_loss():
    rates = {}
    for strength in ("default", "aggressive", "extreme", LRStrength.EXTREME):
        _, optimiser, train_step = bowl()
        rates[strength] = finder(optimiser, train_step, strength=strength).find()
    assert rates["aggressive"] == pytest.approx(2 * rates["default"])
    assert rates["extreme"] == pytest.approx(4 * rates["default"]) == rates[LRStrength.EXTREME]


def test_the_sweep_is_exponential_smoothed_and_stops_when_the_loss_explodes():
    _, optimiser, train_step = bowl()
    found = finder(optimiser, train_step, beta=0.9, stop_factor=3.0)
    found.find()
    sweep = found.sweep
    mean = 0.0
    for index, (rate, loss, smoothed) in enumerate(
        zip(sweep.rates, sweep.losses, sweep.smoothed, strict=True)
    ):
        assert rate == pytest.approx(1e-6 * 1e7 ** (index / 299))
        mean = 0.9 * mean + 0.1 * loss
        assert smoothed == pytest.approx(mean / (1 - 0.9 ** (index + 1)))
    assert len(sweep.rates) < 300
    assert sweep.smoothed[-1] > 3 * min(sweep.smoothed)
    assert all(s <= 3 * min(sweep.smoothed[: i + 1]) for i, s in enumerate(sweep.smoothed[:-1]))


def snapshot(model, optimiser):
    return copy.deepcopy((model.state_dict(), optimiser.state_dict(), torch.get_rng_state()))


def equal(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("name", ["sgd", "adam", "lion"])
def test_everything_comes_back_bit_for_bit(name, started, tmp_path):
    config = {"clip": "autoclip", "clip_value": 90.0, "ema": 0.9, "warmup": 5}
    model, optimiser, train_step = bowl(name=name, momentum=0.9, **config)
    if started:
        train_step()
    model.eval()
    before = snapshot(model, optimiser)
    finder(
        optimiser, train_step, mode="graph_and_exit", figure=tmp_path / "lr.png", steps=100
    ).find()
    after = snapshot(model, optimiser)
    assert equal(before, after)
    assert not model.training
    assert model.weight.grad is None


def test_an_error_in_a_step_gives_everything_back_too():
    model, optimiser, train_step = bowl()
    before = snapshot(model, optimiser)
    calls = []

    def breaks():
        calls.append(1)
        if len(calls) == 30:
            raise RuntimeError("no more data")
        return train_step()

    with pytest.raises(RuntimeError, match="no more data"):
        finder(optimiser, breaks).find()
    assert equal(before, snapshot(model, optimiser))


def test_modes_set_draw_and_exit(tmp_path):
    for mode, sets, draws in (
        ("set", True, False),
        ("graph_and_set", True, True),
        ("graph_and_exit", False, True),
    ):
        _, optimiser, train_step = bowl()
        figure = tmp_path / f"{mode}.png"
        best = finder(optimiser, train_step, mode=mode, figure=figure).find()
        assert optimiser.lr == (best if sets else 0.003)
        assert figure.is_file() == draws
    assert sorted(p.name for p in tmp_path.iterdir()) == ["graph_and_exit.png", "graph_and_set.png"]
    with Image.open(figure) as picture:
        assert picture.size == (800, 500)
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 10


def test_a_search_that_finds_nothing_leaves_all_as_it_was(tmp_path, caplog):
    keep = tmp_path / "model.safetensors"
    keep.write_bytes(b"precious")
    model, optimiser, _ = bowl()
    before = snapshot(model, optimiser)
    losses = iter(range(1, 1000))
    found = finder(
        optimiser,
        lambda: float(next(losses)),
        mode="graph_and_set",
        figure=tmp_path / "lr.png",
    )
    assert found.find() is None
    assert found.best_lr is None
    assert "no learning rate found" in caplog.text
    assert equal(before, snapshot(model, optimiser))
    assert keep.read_bytes() == b"precious"


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_sweep(bad):
    _, optimiser, train_step = bowl()
    calls = []

    def poisoned():
        calls.append(1)
        return bad if len(calls) > 60 else train_step()

    found = finder(optimiser, poisoned)
    best = found.find()
    assert len(calls) == 61
    assert len(found.sweep.rates) == 60
    assert math.isfinite(best)
    _, optimiser, _ = bowl()
    assert finder(optimiser, lambda: bad).find() is None


def test_the_schedule_does_not_disturb_the_sweep():
    rates = []
    for warmup in (0, 50):
        _, optimiser, train_step = bowl(warmup=warmup)
        rates.append(finder(optimiser, train_step).find())
    assert rates[0] == rates[1]


def test_unusable_options_and_folders_are_refused(tmp_path):
    _, optimiser, train_step = bowl()
    for options in (
        {"mode": "graph"},
        {"mode": "graph_and_set"},
        {"strength": "brutal"},
        {"steps": 1},
        {"start_lr": 1.0, "end_lr": 0.1},
        {"stop_factor": 1.0},
        {"beta": 1.0},
    ):
        with pytest.raises(OptionError):
            finder(optimiser, train_step, **options)
    with pytest.raises(OutputError):
        finder(
            optimiser, train_step, mode="graph_and_set", figure=tmp_path / "no" / "lr.png"
        ).find()
