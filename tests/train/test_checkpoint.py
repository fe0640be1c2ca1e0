import os

import pytest
import torch
from safetensors.torch import load_file

from featflow.errors import OutputError, TrainingError
from featflow.train.checkpoint import NAME
from featflow.train.loop import NodeTrainer


def run(trainer, seeds):
    for seed in seeds:
        trainer.train_one_step(next(trainer.task.batches(seed)))


def everything(trainer):
    state = {f"model.{k}": v for k, v in trainer.task.model.state_dict().items()}
    state |= {f"average.{k}": v for k, v in trainer.average.items()}
    for index, moments in trainer.optimiser.torch.state_dict()["state"].items():
        state |= {f"moments.{index}.{k}": v for k, v in moments.items()}
    return {k: v.clone() for k, v in state.items()}


def assert_same(one, two):
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name
        assert one[name].dtype == two[name].dtype


@pytest.fixture
def trained(line, tmp_path):
    trainer = NodeTrainer(line(steps=40, weight_decay=0.1)[1], line(steps=40)[0], tmp_path)
    run(trainer, range(8))
    trainer.curve, trainer.seconds = [{"step": 5, "loss": 0.25}], 12.5
    return trainer


def test_loading_gives_back_all_that_was_saved(trained, line, tmp_path):
    path = trained.save()
    assert os.listdir(tmp_path) == [NAME]
    recipe, task = line(steps=40, seed=99)
    other = NodeTrainer(task, recipe, tmp_path)
    other.resume()
    assert_same(everything(other), everything(trained))
    assert any(name.startswith("moments.0.exp_avg") for name in everything(other))
    assert (other.step, other.seconds, other.curve) == (8, 12.5, trained.curve)
    assert path == tmp_path / NAME


def test_going_on_equals_never_having_stopped(trained, line, tmp_path):
    trained.save()
    run(trained, range(8, 20))
    recipe, task = line(steps=40, weight_decay=0.1, seed=99)
    other = NodeTrainer(task, recipe, tmp_path)
    for ours, theirs in zip(
        other.optimiser.torch.param_groups, trained.optimiser.torch.param_groups, strict=True
    ):
        ours["weight_decay"] = theirs["weight_decay"]
    other.resume()
    run(other, range(8, 20))
    assert_same(everything(other), everything(trained))


def test_fit_resumes_at_the_saved_step_with_fresh_data(line, tmp_path):
    recipe, task = line(steps=25, save_every=10, fail=22)
    with pytest.raises(RuntimeError):
        NodeTrainer(task, recipe, tmp_path).run()
    again, second = line(steps=25, save_every=10)
    trainer = NodeTrainer(second, again, tmp_path)
    trainer.run(resume=True)
    assert second.steps == list(range(20, 25))
    assert second.seeds == [3 + 20]
    assert load_file(tmp_path / NAME)["optimiser.0.step"].item() == 25
    third = line(steps=25)[1]
    NodeTrainer(third, again, tmp_path).run(resume=True)
    assert third.steps == []


def test_without_resume_an_old_checkpoint_is_not_read(trained, line, tmp_path):
    trained.save()
    recipe, task = line(steps=3)
    NodeTrainer(task, recipe, tmp_path).run()
    assert task.steps == [0, 1, 2]


def test_no_checkpoint_is_a_fresh_start(line, tmp_path):
    recipe, task = line(steps=3)
    NodeTrainer(task, recipe, tmp_path).run(resume=True)
    assert task.steps == [0, 1, 2]


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "flipped header"])
def test_a_damaged_file_is_named(trained, line, tmp_path, damage):
    path = trained.save()
    content = path.read_bytes()
    path.write_bytes(
        {
            "cut": content[: len(content) // 2],
            "empty": b"",
            "text": b"not a checkpoint at all",
            "flipped header": content[:20] + bytes([content[20] ^ 0xFF]) + content[21:],
        }[damage]
    )
    recipe, task = line()
    with pytest.raises(TrainingError, match=NAME):
        NodeTrainer(task, recipe, tmp_path).run(resume=True)


def test_another_nodes_checkpoint_is_refused(trained, line, tmp_path):
    trained.save()
    recipe, task = line(node="toy/other")
    with pytest.raises(TrainingError, match=r"toy/line.*toy/other"):
        NodeTrainer(task, recipe, tmp_path).resume()


def test_another_networks_checkpoint_is_refused(trained, line, tmp_path):
    trained.save()
    recipe, task = line()
    task.model.linear = torch.nn.Linear(2, 1)
    with pytest.raises(TrainingError, match="linear"):
        NodeTrainer(task, recipe, tmp_path).resume()


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_checkpoint(trained, tmp_path, monkeypatch, broken):
    path = trained.save()
    before = path.read_bytes()
    run(trained, [1])

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, broken, full)
    with pytest.raises(OutputError, match="No space left"):
        trained.save()
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [NAME]
