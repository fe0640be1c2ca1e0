import hashlib
import math
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from featflow.errors import TrainingError, WeightsError
from featflow.train.average import copy_state
from featflow.train.feed import prefetch
from featflow.train.loop import NodeTrainer, optimiser_of
from featflow.train.optim import decay_groups
from featflow.train.recipe import Optim


def threads():
    return [t.name for t in threading.enumerate() if t.name == "featflow-prefetch"]


@pytest.fixture(autouse=True)
def no_thread_left():
    yield
    assert threads() == []


def batch_of(task, seed=0):
    return next(task.batches(seed))


def state_of(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def test_the_optimiser_is_given_the_rate_of_the_closed_formula(line, tmp_path):
    recipe, task = line(steps=30, lr=0.5, lr_end=0.02, warmup=10)
    trainer = NodeTrainer(task, recipe, tmp_path)
    for step in range(30):
        expected = 0.5 * (step + 1) / 10
        if step >= 10:
            expected = 0.01 + 0.49 * (1 + math.cos(math.pi * (step - 10) / 20)) / 2
        assert trainer.optimiser.lr == pytest.approx(expected)
        trainer.train_one_step(batch_of(task, step))
    assert trainer.optimiser.lr == pytest.approx(0.01)


def test_a_recipe_is_an_optimiser():
    optim = Optim(steps=7, batch_size=2, lr=0.3, lr_end=0.1, warmup=2, weight_decay=0.2, clip=3.0)
    config = optimiser_of(optim)
    assert (config.name, config.betas, config.eps) == ("adamw", (0.9, 0.99), 1e-8)
    assert (config.clip, config.clip_value, config.weight_decay) == ("global_norm", 3.0, 0.2)
    assert (config.schedule, config.steps, config.warmup) == ("cosine", 7, 2)
    assert (config.lr, config.lr_end, config.ema) == (0.3, 0.1, 0.998)
    assert optimiser_of(replace(optim, clip=0.0)).clip == "none"


def test_only_matrices_decay():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    model[2].weight.requires_grad_(False)
    decayed, plain = decay_groups(model, 0.3)
    assert [p.shape for p in decayed["params"]] == [model[0].weight.shape]
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.3, 0.0)
    assert {id(p) for p in plain["params"]} == {
        id(p) for p in (model[0].bias, model[1].weight, model[1].bias, model[2].bias)
    }


def test_first_step_is_the_textbook_adamw_step(line, tmp_path):
    recipe, task = line(weight_decay=0.1, clip=1e9)
    trainer = NodeTrainer(task, recipe, tmp_path)
    before, batch = state_of(task.model), batch_of(task)
    trainer.train_one_step(batch)
    w, b = before["linear.weight"].item(), before["linear.bias"].item()
    x, y = batch["x"].numpy().ravel(), batch["y"].numpy().ravel()
    error = w * x + b - y
    rate = 0.1 / 10
    # Adam's first step is the sign of the gradient; the weight, not the bias, decays.
    grad_w, grad_b = np.mean(2 * error * x), np.mean(2 * error)
    assert task.model.linear.weight.item() == pytest.approx(
        w * (1 - rate * 0.1) - rate * np.sign(grad_w), abs=1e-6
    )
    assert task.model.linear.bias.item() == pytest.approx(b - rate * np.sign(grad_b), abs=1e-6)


def test_average_follows_its_formula(line, tmp_path):
    recipe, task = line(steps=60, ema=0.7)
    trainer = NodeTrainer(task, recipe, tmp_path)
    expected = {k: v.double() for k, v in state_of(task.model).items()}
    for step in range(40):
        trainer.train_one_step(batch_of(task, step))
        decay = min(0.7, (1 + step) / (10 + step))
        for name, value in task.model.state_dict().items():
            if value.dtype.is_floating_point:
                expected[name] = decay * expected[name] + (1 - decay) * value.double()
            else:
                expected[name] = value.double()
    for name, value in trainer.average.items():
        assert torch.allclose(value.double(), expected[name], atol=1e-5), name


def test_a_bad_gradient_changes_nothing(line, tmp_path):
    recipe, task = line()
    trainer = NodeTrainer(task, recipe, tmp_path)
    good = batch_of(task)
    bad = {**good, "x": good["x"].clone()}
    bad["x"][3] = torch.inf
    trainer.train_one_step(good)
    before, average = state_of(task.model), {k: v.clone() for k, v in trainer.average.items()}
    moments = trainer.optimiser.torch.state_dict()["state"][0]["exp_avg"].clone()
    trainer.train_one_step(bad)
    trainer.train_one_step(bad)
    assert same(state_of(task.model), before), "weights or running means moved"
    assert same(trainer.average, average)
    assert torch.equal(trainer.optimiser.torch.state_dict()["state"][0]["exp_avg"], moments)
    assert trainer.step == 3
    trainer.train_one_step(good)  # a good one between starts the count again
    assert not same(state_of(task.model), before)
    trainer.train_one_step(bad)
    trainer.train_one_step(bad)
    with pytest.raises(TrainingError, match="three non-finite"):
        trainer.train_one_step(bad)  # no state was kept outside of a run
    assert all(torch.isfinite(v).all() for v in task.model.state_dict().values())


def test_fit_survives_a_bad_batch_and_records_means_of_the_good_ones(line, tmp_path):
    recipe, task = line(steps=100, poison={7, 60})
    reports = []
    trainer = NodeTrainer(task, recipe, tmp_path, lambda step, terms: reports.append((step, terms)))
    figures = trainer.run()
    assert all(math.isfinite(v) for v in figures.values())
    assert [r[0] for r in reports] == [50, 100] == [c["step"] for c in trainer.curve]
    assert all(math.isfinite(c["loss"]) for c in trainer.curve)
    assert reports[0][1]["double"] == pytest.approx(2 * reports[0][1]["loss"])
    assert task.steps == list(range(100))


def test_recorded_terms_are_means_of_fifty_steps(line, tmp_path):
    recipe, task = line(steps=100)
    trainer = NodeTrainer(task, recipe, tmp_path)
    losses, step = [], trainer.train_one_step
    trainer.train_one_step = lambda: losses.append(step()) or losses[-1]
    trainer.run()
    for row, part in zip(trainer.curve, (losses[:50], losses[50:]), strict=True):
        assert row["loss"] == pytest.approx(np.mean([t["loss"] for t in part]))


def test_a_line_is_learned(line, tmp_path):
    recipe, task = line(steps=200)
    figures = NodeTrainer(task, recipe, tmp_path).run()
    assert figures["slope"] == pytest.approx(2.5, abs=0.02)
    assert figures["offset"] == pytest.approx(-1.25, abs=0.02)


def test_validation_sees_the_averaged_weights_and_gives_the_others_back(line, tmp_path):
    recipe, task = line(ema=0.99)
    trainer = NodeTrainer(task, recipe, tmp_path)
    for seed in range(4):
        trainer.train_one_step(batch_of(task, seed))
    before = state_of(task.model)
    figures = trainer.validate()
    assert figures["slope"] == trainer.average["linear.weight"].item()
    assert figures["slope"] != task.model.linear.weight.item()
    assert same(state_of(task.model), before)
    assert task.model.training
    assert torch.is_grad_enabled()


def test_validation_is_noted_at_its_own_step(line, tmp_path):
    recipe, task = line(steps=70, validate_every=20)
    trainer = NodeTrainer(task, recipe, tmp_path)
    trainer.run()
    noted = [row["step"] for row in trainer.curve if "val_slope" in row]
    assert noted == [20, 40, 60]
    assert [row["step"] for row in trainer.curve if "loss" in row] == [50]


def test_an_error_in_the_data_surfaces_and_ends_the_thread(line, tmp_path):
    recipe, task = line(steps=50, fail=5)
    with pytest.raises(RuntimeError, match="disk on fire"):
        NodeTrainer(task, recipe, tmp_path).run()
    assert threads() == []


def test_an_error_in_the_loss_ends_the_thread(line, tmp_path):
    recipe, task = line(steps=50, poison=set(range(20)))
    with pytest.raises(TrainingError, match="three non-finite") as caught:
        NodeTrainer(task, recipe, tmp_path).run()
    assert caught.tb is not None
    assert threads() == []


def test_data_that_end_are_an_error_not_a_hang(line, tmp_path):
    recipe, task = line(steps=50, stop=7)
    with pytest.raises(TrainingError, match="end at step 7"):
        NodeTrainer(task, recipe, tmp_path).run()


def test_prefetch_keeps_order_and_runs_ahead_by_its_depth_only():
    drawn = []

    def numbers():
        for number in range(100):
            drawn.append(number)
            yield {"n": torch.tensor(number)}

    ready = prefetch(numbers(), depth=3)
    assert [int(next(ready)["n"]) for _ in range(10)] == list(range(10))
    time.sleep(0.05)
    assert len(drawn) <= 10 + 3 + 1
    ready.close()
    assert threads() == []
    assert len(list(prefetch(iter([{}] * 6)))) == 6


def test_a_task_may_finish_the_averaged_weights_and_checkpoints_do_not_see_it(line, tmp_path):
    recipe, task = line(steps=8)
    calls = []

    def finish(model):
        assert not model.training
        calls.append(model.linear.bias.item())
        model.linear.bias += 100.0
        return {"moved": 100.0}

    task.finish = finish
    trainer = NodeTrainer(task, recipe, tmp_path)
    figures = trainer.run()
    assert figures["moved"] == 100.0
    assert figures["offset"] == pytest.approx(calls[0] + 100)
    assert trainer.shipped["linear.bias"].item() == pytest.approx(calls[0] + 100)
    assert trainer.average["linear.bias"].item() == pytest.approx(calls[0])
    assert task.model.linear.bias.item() < 50
    again = NodeTrainer(task, recipe, tmp_path)
    again.run(resume=True)
    assert calls[1] == pytest.approx(calls[0])


def test_a_task_without_a_finish_is_left_alone(line, tmp_path):
    recipe, task = line(steps=3)
    assert "moved" not in NodeTrainer(task, recipe, tmp_path).run()


def test_a_run_may_start_from_the_weights_of_another(line, tmp_path):
    recipe, task = line(steps=30)
    recipe = replace(recipe, optim=replace(recipe.optim, stop=20))
    first = NodeTrainer(task, recipe, tmp_path)
    first.run()
    assert first.step == 20
    recipe, task = line(steps=5)
    recipe = replace(recipe, start=str(tmp_path))
    second = NodeTrainer(task, recipe, tmp_path / "second")
    (tmp_path / "second").mkdir()
    second.run()
    assert task.steps == list(range(5))
    assert second.step == 5
    assert second.earlier["steps"] == 20
    error = abs(task.model.linear.weight.item() - 2.5)
    _, fresh = line(steps=5)
    assert error < abs(fresh.model.linear.weight.item() - 2.5)
    again = NodeTrainer(line(steps=5)[1], recipe, tmp_path / "second")
    again.run(resume=True)
    assert again.step == 5
    assert again.earlier["steps"] == 20


def test_starting_from_nothing_is_an_error(line, tmp_path):
    recipe, task = line(steps=5)
    with pytest.raises(TrainingError, match="no such checkpoint"):
        NodeTrainer(task, replace(recipe, start=str(tmp_path / "no")), tmp_path).run()


def test_a_run_may_start_from_a_file_of_weights(line, tmp_path):
    recipe, task = line(steps=1)
    path = tmp_path / "weights.safetensors"
    stored = {name: value + 3 for name, value in task.model.state_dict().items()}
    save_file(stored, path)
    trainer = NodeTrainer(task, recipe, tmp_path)
    trainer.start_from(path)
    assert same(copy_state(task.model), stored)
    assert same(trainer.average, stored)
    assert trainer.earlier["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert trainer.step == 0


def test_starting_from_weights_of_another_network_is_an_error(line, tmp_path):
    recipe, task = line(steps=5)
    path = tmp_path / "weights.safetensors"
    save_file({"other": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="of the network is missing"):
        NodeTrainer(task, replace(recipe, start=str(path)), tmp_path).run()
