import pytest
import torch
from torch.optim import lr_scheduler

from featflow.errors import OptionError
from featflow.train.schedule import Schedule, Scheduler


def optimiser(*rates):
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    return torch.optim.SGD(groups, lr=1.0)


def torchs(made, steps):
    rates = []
    for _ in range(steps):
        rates.append(made.optimizer.param_groups[0]["lr"])
        made.optimizer.step()
        made.step()
    return rates


@pytest.mark.parametrize("steps", [10, 100, 333])
def test_one_cycle_is_torchs(steps):
    wanted = torchs(lr_scheduler.OneCycleLR(optimiser(0.1), 0.1, steps), steps)
    schedule = Schedule("one_cycle", steps)
    assert [0.1 * schedule.factor(i) for i in range(steps)] == pytest.approx(wanted, rel=1e-6)


def test_cosine_is_torchs():
    made = lr_scheduler.CosineAnnealingLR(optimiser(0.2), 50, eta_min=0.02)
    schedule = Schedule("cosine", steps=50, end=0.1)
    assert [0.2 * schedule.factor(i) for i in range(50)] == pytest.approx(torchs(made, 50))
    assert schedule.factor(50) == schedule.factor(5000) == pytest.approx(0.1)


def test_warm_up_is_linear_reaches_the_peak_and_stays():
    schedule = Schedule(warmup=20)
    made = lr_scheduler.LinearLR(optimiser(1.0), 1 / 20, 1.0, 19)
    assert [schedule.factor(i) for i in range(19)] == pytest.approx(torchs(made, 19))
    assert schedule.factor(19) == schedule.factor(20) == schedule.factor(10**6) == 1.0
    steps = {round(schedule.factor(i + 1) - schedule.factor(i), 9) for i in range(19)}
    assert steps == {0.05}


def test_warm_up_then_cosine_meet_at_the_peak():
    schedule = Schedule("cosine", steps=110, warmup=10)
    assert schedule.factor(9) == schedule.factor(10) == 1.0
    assert schedule.factor(60) == pytest.approx(0.5)
    assert schedule.factor(110) == pytest.approx(0.0)


def test_each_group_follows_from_its_own_peak():
    made = Scheduler(optimiser(0.4, 0.1), Schedule(warmup=4))
    for wanted in (0.25, 0.5, 0.75, 1.0, 1.0):
        assert made.get_lr() == pytest.approx([0.4 * wanted, 0.1 * wanted])
        assert [g["lr"] for g in made.optimiser.param_groups] == made.get_lr()
        made.step()


def test_a_warm_up_resumes_where_it_stopped():
    whole = Scheduler(optimiser(0.5), Schedule("cosine", steps=40, warmup=10))
    rates = []
    for _ in range(30):
        rates += whole.get_lr()
        whole.step()
    first = Scheduler(optimiser(0.5), Schedule("cosine", steps=40, warmup=10))
    for _ in range(6):
        first.step()
    saved = first.state_dict()
    second = Scheduler(optimiser(0.5), Schedule("cosine", steps=40, warmup=10))
    second.load_state_dict(saved)
    resumed = []
    for _ in range(24):
        resumed += [g["lr"] for g in second.optimiser.param_groups]
        second.step()
    assert resumed == rates[6:]


def test_a_new_peak_keeps_the_place_in_the_schedule():
    made = Scheduler(optimiser(0.5, 0.2), Schedule(warmup=10))
    made.step()
    made.set_lr(0.1)
    assert [g["lr"] for g in made.optimiser.param_groups] == pytest.approx([0.02, 0.02])


@pytest.mark.parametrize(
    "options",
    [
        {"shape": "linear"},
        {"shape": "cosine"},
        {"shape": "one_cycle", "steps": 10, "warmup": 2},
        {"warmup": -1},
        {"end": 1.5},
    ],
)
def test_unusable_options_are_refused(options):
    with pytest.raises(OptionError):
        Schedule(**options)
