import numpy as np
import pytest
import torch
from torch import nn

from featflow.errors import OptionError
from featflow.train.average import WeightAverage
from featflow.train.optim import OPTIMISERS, OptimConfig, Optimiser, decay_groups, make_optimiser
from featflow.train.optimisers import AdaBelief, Lion


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)).double()


def batch(seed, rows=12):
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.normal(0, 1, (rows, 4)))
    return x, x[:, :2] * 2 - 1


def train(model, optimiser, seeds, rows=12):
    losses = []
    for seed in seeds:
        x, y = (each.to(next(model.parameters())) for each in batch(seed, rows))
        loss = (model(x) - y).square().mean()
        optimiser.backward(loss)
        optimiser.step()
        losses.append(loss.item())
    return losses


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_optimiser_learns_and_resumes_on_the_same_path(name):
    rate = {"sgd": 0.05, "lion": 0.02}.get(name, 0.02)
    config = OptimConfig(
        name,
        lr=rate,
        weight_decay=0.01,
        warmup=8,
        clip="autoclip",
        clip_value=60.0,
        ema=0.9,
    )
    # torch reads a memory back in the type of its weights; in single precision that is exact.
    model = network().float()
    whole = Optimiser(model, config)
    losses = train(model, whole, range(60))
    assert losses[-1] < 0.5 * losses[0]

    first = network().float()
    half = Optimiser(first, config)
    train(first, half, range(5))
    saved = half.state_dict()
    second = network(1).float()
    second.load_state_dict(first.state_dict())
    train(first, half, range(5, 9))  # what was saved is a copy
    resumed = Optimiser(second, config)
    resumed.load_state_dict(saved)
    assert train(second, resumed, range(5, 60)) == losses[5:]
    assert torch.equal(weights(second), weights(model))
    for key, value in resumed.average.weights.items():
        assert torch.equal(value, whole.average.weights[key])


def test_names_stand_for_torchs_own():
    for name, made in (
        ("adam", torch.optim.Adam),
        ("adamw", torch.optim.AdamW),
        ("adamax", torch.optim.Adamax),
        ("nadam", torch.optim.NAdam),
        ("rmsprop", torch.optim.RMSprop),
        ("sgd", torch.optim.SGD),
        ("adabelief", AdaBelief),
        ("lion", Lion),
    ):
        optimiser = make_optimiser(network(), OptimConfig(name, lr=0.25, weight_decay=0.1))
        assert type(optimiser) is made
        assert [g["lr"] for g in optimiser.param_groups] == [0.25, 0.25]
        assert [g["weight_decay"] for g in optimiser.param_groups] == [0.1, 0.0]


def test_options_reach_the_optimiser():
    config = OptimConfig("adamw", betas=(0.7, 0.8), eps=1e-3, amsgrad=True)
    group = make_optimiser(network(), config).param_groups[0]
    assert (group["betas"], group["eps"], group["amsgrad"]) == ((0.7, 0.8), 1e-3, True)
    group = make_optimiser(network(), OptimConfig("sgd", momentum=0.3)).param_groups[0]
    assert group["momentum"] == 0.3


def test_biases_and_one_dimensional_weights_do_not_decay():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    decayed, plain = decay_groups(model, 0.1)
    assert {p.ndim for p in decayed["params"]} == {2, 4}
    assert {p.ndim for p in plain["params"]} == {1}
    assert len(decayed["params"]) + len(plain["params"]) == len(list(model.parameters()))


def follow(make, update, steps=6):
    """One weight under an optimiser, and under the paper's formula in numpy."""
    rng = np.random.default_rng(1)
    parameter = nn.Parameter(torch.tensor([0.5, -1.5], dtype=torch.float64))
    optimiser, wanted, memory = make([parameter]), np.array([0.5, -1.5]), {}
    for step in range(1, steps + 1):
        grad = rng.normal(0, 1, 2)
        parameter.grad = torch.from_numpy(grad)
        optimiser.step()
        wanted = update(wanted, grad, step, memory)
    assert parameter.detach().numpy() == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("amsgrad", [False, True])
def test_adabelief_is_zhuangs_algorithm(amsgrad):
    lr, beta1, beta2, eps, decay = 0.1, 0.8, 0.9, 1e-6, 0.05

    def update(w, g, t, memory):
        m = beta1 * memory.get("m", 0) + (1 - beta1) * g
        s = beta2 * memory.get("s", 0) + (1 - beta2) * (g - m) ** 2 + eps
        memory.update(m=m, s=s, top=np.maximum(memory.get("top", 0), s))
        s = memory["top"] if amsgrad else s
        root = np.sqrt(s / (1 - beta2**t)) + eps
        return w * (1 - lr * decay) - lr * m / (1 - beta1**t) / root

    follow(lambda p: AdaBelief(p, lr, (beta1, beta2), eps, decay, amsgrad), update)


def test_lion_is_chens_algorithm():
    lr, beta1, beta2, decay = 0.02, 0.9, 0.95, 0.1

    def update(w, g, _, memory):
        m = memory.get("m", 0)
        step = np.sign(beta1 * m + (1 - beta1) * g) + decay * w
        memory["m"] = beta2 * m + (1 - beta2) * g
        return w - lr * step

    follow(lambda p: Lion(p, lr, (beta1, beta2), decay), update)


@pytest.mark.parametrize("name", ["sgd", "adam"])
@pytest.mark.parametrize("parts", [2, 4])
def test_accumulating_is_the_big_batch(name, parts):
    big, small = network(), network()
    whole = Optimiser(big, OptimConfig(name, lr=0.05, clip="global_norm", clip_value=1.0, ema=0.9))
    split = Optimiser(
        small,
        OptimConfig(name, lr=0.05, clip="global_norm", clip_value=1.0, ema=0.9, accumulate=parts),
    )
    for seed in range(5):
        x, y = batch(seed, 16)
        whole.backward((big(x) - y).square().mean())
        assert whole.step()
        pairs = zip(x.chunk(parts), y.chunk(parts), strict=True)
        moved = []
        for a, b in pairs:
            split.backward((small(a) - b).square().mean())
            moved.append(split.step())
        assert moved == [False] * (parts - 1) + [True]
    assert (weights(big) - weights(small)).abs().max() < 1e-6
    assert whole.norm == pytest.approx(split.norm)
    assert split.average.count == 5


def test_a_gradient_that_is_not_finite_moves_nothing():
    model = network()
    optimiser = Optimiser(
        model, OptimConfig(lr=0.1, clip="autoclip", clip_value=50.0, ema=0.9, warmup=10)
    )
    train(model, optimiser, range(3))
    before, memory = weights(model), optimiser.state_dict()
    for count in (1, 2, 3):
        x, y = batch(count)
        x[0, 0] = torch.nan
        optimiser.backward((model(x) - y).square().mean())
        assert not optimiser.step()
        assert optimiser.skipped == count
    assert torch.equal(weights(model), before)
    after = optimiser.state_dict()
    assert after["scheduler"] == memory["scheduler"]
    assert torch.equal(after["clip"]["norms"], memory["clip"]["norms"])
    assert torch.equal(
        after["torch"]["state"][0]["exp_avg"], memory["torch"]["state"][0]["exp_avg"]
    )
    train(model, optimiser, [9])
    assert optimiser.skipped == 0
    assert not torch.equal(weights(model), before)


def test_the_rate_is_set_and_scheduled():
    model = network()
    optimiser = Optimiser(model, OptimConfig("sgd", lr=0.4, warmup=4))
    assert optimiser.lr == pytest.approx(0.1)
    train(model, optimiser, range(1))
    assert optimiser.lr == pytest.approx(0.2)
    optimiser.set_lr(1.0)
    assert optimiser.lr == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_mixed_precision_computes_in_half_and_keeps_full_weights(precision, dtype):
    model = network().float()
    optimiser = Optimiser(
        model, OptimConfig("sgd", lr=0.05, precision=precision, clip="global_norm", clip_value=5.0)
    )
    losses = []
    for seed in range(40):
        x, y = (t.float() for t in batch(seed))
        with optimiser.autocast():
            out = model(x)
            loss = (out.float() - y).square().mean()
        assert out.dtype == dtype
        optimiser.backward(loss)
        optimiser.step()
        losses.append(loss.item())
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert losses[-1] < 0.3 * losses[0]


def test_the_loss_scale_is_taken_off_before_clipping_and_falls_after_an_overflow():
    model, plain = network().float(), network().float()
    scaled = Optimiser(model, OptimConfig("sgd", lr=0.1, precision="fp16"))
    unscaled = Optimiser(plain, OptimConfig("sgd", lr=0.1))
    x, y = (t.float() for t in batch(0))
    for m, o in ((model, scaled), (plain, unscaled)):
        o.backward((m(x) - y).square().mean())
        assert o.step()
    assert scaled.norm == pytest.approx(unscaled.norm, rel=1e-4)
    assert torch.allclose(weights(model), weights(plain), atol=1e-6)
    scale = scaled.scaler.get_scale()
    scaled.backward(model(x).mean() * float("inf"))
    assert not scaled.step()
    assert scaled.scaler.get_scale() == scale / 2
    again = Optimiser(model, OptimConfig("sgd", lr=0.1, precision="fp16"))
    again.load_state_dict(scaled.state_dict())
    assert again.scaler.get_scale() == scale / 2


def test_to_keeps_everything_and_single_precision_has_no_autocast():
    model = network()
    optimiser = Optimiser(model, OptimConfig(ema=0.5))
    train(model, optimiser, range(2))
    before = optimiser.state_dict()
    optimiser.to("cpu")
    after = optimiser.state_dict()["torch"]["state"]
    for index, moments in before["torch"]["state"].items():
        for name, value in moments.items():
            assert torch.equal(value, after[index][name])
    with optimiser.autocast():
        assert model(batch(0)[0]).dtype == torch.float64


def test_the_average_is_its_formula_and_is_lent():
    model = nn.BatchNorm1d(2)
    average = WeightAverage(model, 0.8)
    wanted = {k: v.double() for k, v in average.weights.items()}
    for step in range(30):
        model(torch.randn(5, 2, generator=torch.Generator().manual_seed(step)) + 3)
        with torch.no_grad():
            model.weight.add_(0.1)
        average.update(model)
        decay = min(0.8, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            follows = value.is_floating_point()
            mixed = decay * wanted[name] + (1 - decay) * value.double()
            wanted[name] = mixed if follows else value.double()
    for name, value in average.weights.items():
        assert torch.allclose(value.double(), wanted[name], atol=1e-5), name
    own = model.weight.detach().clone()
    with average.applied(model):
        assert torch.equal(model.weight, average.weights["weight"])
    assert torch.equal(model.weight, own)
    with pytest.raises(OptionError):
        WeightAverage(model, 1.0)


@pytest.mark.parametrize(
    "options",
    [
        {"name": "adamm"},
        {"name": "sgd", "amsgrad": True},
        {"lr": -1.0},
        {"name": "lion", "betas": (0.9, 1.0)},
        {"accumulate": 0},
        {"precision": "fp8"},
        {"clip": "norms"},
        {"schedule": "cosine"},
        {"ema": 1.0},
    ],
)
def test_unusable_options_are_refused(options):
    with pytest.raises(OptionError):
        Optimiser(network(), OptimConfig(**options))
