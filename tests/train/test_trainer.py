"""The trainer's promises: nothing lost, nothing half done, the same again after a crash."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from featflow.errors import OptionError, OutputError, TrainingError
from featflow.train.callbacks import Callback, EarlyStopping, Progress, Report
from featflow.train.checkpoint import NAME
from featflow.train.feed import Repeated, count_samples, to_device
from featflow.train.metrics import MetricsFile, read_metrics
from featflow.train.optim import OptimConfig
from featflow.train.trainer import Intervals, Trainer


class Noisy(nn.Module):
    """A small network whose loss depends on torch's own chance, through its dropout."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 1)
        )

    def forward(self, x):
        return self.layers(x)


class Numbers:
    """Batches by number; those in ``poison`` hold an infinity."""

    def __init__(self, poison=(), size=16):
        self.poison, self.size, self.drawn = poison, size, []

    def batches(self, start):
        number = start
        while True:
            rng = np.random.default_rng([7, number])
            x = torch.from_numpy(rng.normal(size=(self.size, 3)).astype(np.float32))
            y = x.sum(1, keepdim=True)
            if number in self.poison:
                x[0] = torch.inf
            self.drawn.append(number)
            yield {"x": x, "y": y}
            number += 1


def squared(model, batch, step):
    error = (model(batch["x"]) - batch["y"]).square()
    return {"loss": error.mean(), "mae": error.sqrt().mean()}


def make(folder=None, data=None, model=None, every=None, config=None, **options):
    torch.manual_seed(5)
    config = config or OptimConfig("adamw", lr=1e-2, clip="autoclip", clip_value=90, ema=0.9)
    return Trainer(model or Noisy(), Numbers() if data is None else data, squared, config,
                   folder=folder, every=every, **options)  # fmt: skip


def losses_of(trainer, steps):
    seen = []

    class Watch(Callback):
        def on_step(self, trainer, terms):
            seen.append((trainer.step, terms["loss"]))

    trainer.callbacks.append(Watch())
    trainer.fit(steps)
    return dict(seen)


def state(trainer):
    return {k: v.clone() for k, v in trainer.model.state_dict().items()}


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def test_a_resumed_run_has_the_same_next_losses(tmp_path):
    whole = losses_of(make(), 60)
    make(tmp_path, every=Intervals(save=25)).fit(37)
    os.remove(tmp_path / NAME)
    os.replace(tmp_path / "checkpoint.1.safetensors", tmp_path / NAME)  # of step 25
    second = make(tmp_path)
    torch.manual_seed(999)
    assert second.resume()
    assert second.step == 25
    rest = losses_of(second, 60)
    assert list(rest) == list(range(26, 61))
    for step, loss in rest.items():
        assert loss == pytest.approx(whole[step], abs=1e-9)


SCRIPT = """
import sys, pathlib
sys.path.insert(0, {here!r})
import test_trainer as t
class Tell(t.Callback):
    def on_step(self, trainer, terms):
        print(trainer.step, repr(terms["loss"]), flush=True)
trainer = t.make(pathlib.Path({folder!r}), every=t.Intervals(save=20), callbacks=[Tell()])
trainer.fit(int(sys.argv[1]), resume=True)
"""


def test_killed_and_resumed_gives_the_same_next_loss(tmp_path):
    script = textwrap.dedent(SCRIPT.format(here=str(Path(__file__).parent), folder=str(tmp_path)))
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script]
    with subprocess.Popen([*command, "1000000"], stdout=subprocess.PIPE, text=True, env=env) as run:
        before = {}
        for line in run.stdout:
            step, loss = line.split()
            before[int(step)] = float(loss)
            if int(step) == 47:
                run.send_signal(signal.SIGKILL)
                break
    done = subprocess.run([*command, "60"], capture_output=True, text=True, env=env, check=True)
    after = {int(s): float(v) for s, v in (line.split() for line in done.stdout.splitlines())}
    assert min(after) in (21, 41)  # the last save before the kill
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".tmp")] == []
    for step in range(min(after), 48):
        assert after[step] == pytest.approx(before[step], abs=1e-6)


def test_a_bad_gradient_leaves_weights_and_optimiser_alone(tmp_path):
    trainer = make(tmp_path, Numbers(poison={10}))
    before = []

    class Watch(Callback):
        def on_step(self, trainer, terms):
            before.append((state(trainer), trainer.optimiser.state_dict()))

    trainer.callbacks.append(Watch())
    trainer.fit(12)
    good, bad = before[9], before[10]
    assert same(good[0], bad[0])
    assert same(good[1]["average"]["weights"], bad[1]["average"]["weights"])
    assert good[1]["scheduler"] == bad[1]["scheduler"]
    assert not same(bad[0], before[11][0])


def test_three_bad_gradients_bring_the_last_good_state_back(tmp_path):
    trainer = make(tmp_path, Numbers(poison={25, 26, 27}), every=Intervals(save=20))
    states = {}

    class Watch(Callback):
        def on_step(self, trainer, terms):
            states[trainer.step] = (state(trainer), trainer.optimiser.scheduler.count)

    trainer.callbacks.append(Watch())
    trainer.fit(40)
    assert not same(states[25][0], states[20][0])
    assert same(states[25][0], states[27][0])
    assert same(states[28][0], states[20][0])
    assert states[28][1] == 20
    assert trainer.step == 40
    assert not same(states[29][0], states[28][0]), "the run does not go on"


def test_when_rolling_back_does_not_help_the_run_ends():
    trainer = make(data=Numbers(poison=set(range(5, 1000))))
    with pytest.raises(TrainingError, match="three non-finite gradients"):
        trainer.fit(500)
    assert trainer.step == 5 + 3 * 4
    assert all(torch.isfinite(v).all() for v in trainer.model.state_dict().values())


def test_accumulated_batches_are_one_large_batch():
    plain = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    torch.manual_seed(1)
    states = []
    for size, count in ((4, 4), (16, 1)):
        torch.manual_seed(2)
        model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).double()
        rows = torch.randn(64, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        batches = [{"x": x, "y": x.sum(1, keepdim=True)} for x in rows.split(size)]
        config = OptimConfig("sgd", lr=0.05, accumulate=count)
        trainer = make(data=batches, model=model, config=config)
        trainer.fit(epochs=2)
        assert trainer.step == 8
        states.append(state(trainer))
    assert plain is not None
    for name, value in states[0].items():
        assert torch.allclose(value, states[1][name], atol=1e-12), name


def test_epochs_and_plain_iterables():
    batches = [{"x": torch.randn(2, 3), "y": torch.zeros(2, 1)} for _ in range(5)]
    trainer = make(data=batches)
    trainer.fit(epochs=3)
    assert trainer.step == 15
    loader = DataLoader(torch.arange(6), batch_size=4)
    assert [b.tolist() for b, _ in zip(Repeated(loader).batches(1), range(3), strict=False)] == [
        [4, 5],
        [0, 1, 2, 3],
        [4, 5],
    ]
    with pytest.raises(OptionError, match="give steps"):
        make().fit(epochs=2)
    with pytest.raises(OptionError, match="steps or epochs"):
        make().fit()
    with pytest.raises(TrainingError, match="no batch"):
        make(data=[]).fit(3)


def test_ctrl_c_between_or_within_steps_saves_what_was_reached(tmp_path):
    whole = losses_of(make(), 30)

    def interrupting(model, batch, step):
        terms = squared(model, batch, step)
        if step == 13 and not (tmp_path / NAME).exists():
            raise KeyboardInterrupt
        return terms

    trainer = make(tmp_path)
    trainer.losses = interrupting
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(30)
    second = make(tmp_path)
    second.resume()
    assert second.step == 13
    third = make()
    third.fit(13)
    assert same(state(second), state(third))
    assert whole  # dropout's chance was used by the interrupted step, so losses may differ


def test_checkpoints_rotate_and_snapshots_stay(tmp_path):
    make(tmp_path, every=Intervals(save=10, snapshot=20, keep=3)).fit(45)
    names = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.safetensors"))
    assert names == [
        "checkpoint.1.safetensors",
        "checkpoint.2.safetensors",
        "checkpoint.safetensors",
        "snapshots/step-00000020.safetensors",
        "snapshots/step-00000040.safetensors",
    ]
    steps = []
    for name in names:
        trainer = make(tmp_path / "other")
        (tmp_path / "other").mkdir(exist_ok=True)
        (tmp_path / "other" / NAME).write_bytes((tmp_path / name).read_bytes())
        trainer.resume()
        steps.append(trainer.step)
    assert steps == [40, 30, 45, 20, 40]


def test_a_damaged_checkpoint_names_the_one_before(tmp_path):
    make(tmp_path, every=Intervals(save=10)).fit(15)
    (tmp_path / NAME).write_bytes(b"rubbish")
    with pytest.raises(TrainingError, match=r"checkpoint\.1\.safetensors"):
        make(tmp_path).fit(20, resume=True)


def test_checkpoints_of_another_model_or_optimiser_are_refused(tmp_path):
    make(tmp_path).fit(3)
    other = make(tmp_path, model=nn.Sequential(nn.Linear(3, 1)))
    with pytest.raises(TrainingError, match="of Noisy, not Sequential"):
        other.fit(5, resume=True)
    named = make(tmp_path, model=nn.Sequential(nn.Linear(3, 1)), name="Noisy")
    with pytest.raises(TrainingError, match="cannot resume"):
        named.fit(5, resume=True)
    lion = make(tmp_path, config=OptimConfig("lion", lr=1e-3))
    with pytest.raises(TrainingError, match="by adamw, not lion"):
        lion.fit(5, resume=True)


def test_a_folder_that_cannot_be_made_is_an_error_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    trainer = make(tmp_path / "file" / "run")
    with pytest.raises(OutputError, match="cannot be made"):
        trainer.fit(5)
    assert trainer.step == 0


def falling(values):
    stream = iter(values)
    return lambda model: {"error": next(stream)}


def test_early_stopping_waits_and_then_ends(tmp_path):
    values = [5.0, 4.0, 4.5, 3.9, 4.1, 3.85, 3.95, 9.0]
    stopping = EarlyStopping("error", patience=3, least=0.2)
    trainer = make(every=Intervals(validate=2), validate=falling(values), callbacks=[stopping])
    trainer.fit(100)
    # 4.5, 3.9 and 4.1 are no better than 4 by 0.2.
    assert trainer.step == 10
    assert "no better than 4.0" in trainer.stopped
    best = EarlyStopping("error", patience=2, mode="max")
    trainer = make(every=Intervals(validate=1), validate=falling([1, 2, 1.5, 1.6, 1.7]),
                   callbacks=[best])  # fmt: skip
    trainer.fit(100)
    assert (trainer.step, best.best) == (4, 2)
    with pytest.raises(OptionError, match="has error"):
        make(every=Intervals(validate=1), validate=falling([1] * 9),
             callbacks=[EarlyStopping("loss")]).fit(3)  # fmt: skip


def test_patience_is_part_of_the_checkpoint(tmp_path):
    def run(steps, values, resume=False):
        stopping = EarlyStopping("error", patience=4)
        trainer = make(tmp_path, every=Intervals(validate=1, save=1), validate=falling(values),
                       callbacks=[stopping])  # fmt: skip
        trainer.fit(steps, resume=resume)
        return trainer, stopping

    run(2, [1.0, 2.0, 2.0])
    trainer, stopping = run(50, [2.0] * 20, resume=True)
    assert stopping.best == 1.0
    assert trainer.step == 5  # as if it had never stopped


def test_validation_sees_averaged_weights():
    seen = []

    def validate(model):
        assert not model.training
        seen.append({k: v.clone() for k, v in model.state_dict().items()})
        return {}

    trainer = make(validate=validate)
    trainer.fit(5)
    assert same(seen[0], trainer.average)
    assert not same(seen[0], state(trainer))
    plain = make(config=OptimConfig("sgd", lr=0.01))
    plain.fit(3)
    assert same(plain.average, state(plain))


def test_metrics_are_means_and_survive_a_resume(tmp_path):
    trainer = make(tmp_path, every=Intervals(log=5, validate=10, save=10),
                   validate=lambda model: {"half": 0.5})  # fmt: skip
    losses = losses_of(trainer, 23)
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("25,1,2,3")  # a killed run wrote half a line
    second = make(tmp_path, every=Intervals(log=5, save=10))
    second.fit(31, resume=True)
    rows = read_metrics(tmp_path / "metrics.csv")
    means = {int(r["step"]): r["loss"] for r in rows if "loss" in r}
    assert list(means) == [5, 10, 15, 20, 25, 30]
    for step in (5, 10, 15, 20):
        expected = np.mean([losses[s] for s in range(step - 4, step + 1)])
        assert means[step] == pytest.approx(expected, rel=1e-6)
    assert [r["step"] for r in rows if "val_half" in r] == [10, 20]
    assert all(r["images_per_second"] > 0 for r in rows if "loss" in r)
    assert {"lr", "mae", "seconds"} <= rows[0].keys()


def test_a_fresh_run_drops_the_metrics_of_another(tmp_path):
    for _ in range(2):
        make(tmp_path, every=Intervals(log=2)).fit(4)
    assert [r["step"] for r in read_metrics(tmp_path / "metrics.csv")] == [2, 4]


def test_columns_may_come_later(tmp_path):
    file = MetricsFile(tmp_path / "m.csv")
    file.add({"step": 1, "a": 0.25})
    file.add({"step": 2, "b": 3.0})
    file.add({"step": 3, "a": 1e-9})
    expected = [{"step": 1, "a": 0.25}, {"step": 2, "b": 3.0}, {"step": 3, "a": 1e-9}]
    assert read_metrics(tmp_path / "m.csv") == expected
    assert (tmp_path / "m.csv").read_text().splitlines()[0] == "step,a,b"
    (tmp_path / "bad.csv").write_text("step,a\n1,x\n")
    with pytest.raises(OutputError, match=r"bad\.csv"):
        read_metrics(tmp_path / "bad.csv")


def test_progress_tells_speed_and_time_left():
    lines, rows = [], []
    tell = [Progress(lines.append), Report(lambda step, terms: rows.append((step, terms)))]
    trainer = make(every=Intervals(log=5), callbacks=tell)
    squared_before = trainer.losses

    def slow(model, batch, step):
        time.sleep(0.01)
        return squared_before(model, batch, step)

    trainer.losses = slow
    trainer.fit(10)
    assert lines[0].startswith("step 5/10  loss ")
    speed = float(lines[0].split(" images/s")[0].rsplit(" ", 1)[1])
    assert 16 / 0.1 < speed < 16 / 0.01
    assert lines[-1].endswith("0:00:00 left")
    assert set(rows[0][1]) == {"loss", "mae"}


def test_no_folder_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(every=Intervals(log=1, save=1)).fit(5)
    assert list(tmp_path.iterdir()) == []


def test_steps_by_hand_use_the_data_in_order():
    data = Numbers()
    trainer = make(data=data)
    before = state(trainer)
    trainer.train_one_batch()
    weights = [k for k in before if "running" not in k and "num" not in k]
    assert all(torch.equal(before[k], state(trainer)[k]) for k in weights)
    trainer.optimiser.forget()
    trainer.train_one_step()
    trainer.fit(4)
    assert data.drawn[:2] == [0, 1]
    with pytest.raises(OptionError, match="no step"):
        make(config=OptimConfig("sgd", accumulate=2)).train_one_step({})


def test_batches_are_counted_and_moved():
    batch = {"A": {"crop": torch.zeros(4, 2), "row": torch.zeros(4)}, "B": {"crop": torch.ones(3)}}
    assert count_samples(batch) == 7
    assert count_samples({"x": torch.zeros(5, 1), "y": torch.zeros(5)}) == 5
    moved = to_device({"a": [torch.zeros(1)], "n": 3}, torch.device("meta"))
    assert moved["a"][0].device.type == "meta"
    assert moved["n"] == 3


@pytest.mark.parametrize("wrong", [{"log": 0}, {"save": 0}, {"validate": -1}, {"keep": 0}])
def test_intervals_are_checked(wrong):
    with pytest.raises(OptionError, match="intervals"):
        Intervals(**wrong)
