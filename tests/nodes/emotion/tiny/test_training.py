import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from featflow.errors import MissingInputError, RecipeError, TrainingError
from featflow.fex.schema import EMOTIONS
from featflow.nodes.emotion.tiny import training
from featflow.nodes.emotion.tiny.faces import held_out
from featflow.nodes.emotion.tiny.network import EmotionNet
from featflow.nodes.emotion.tiny.training import EmotionTask, figures, take_trunk
from featflow.train.recipe import Optim, Recipe

TINY = {"widths": [4, 4, 4, 4], "blocks": [0, 0, 0], "features": 8}


def recipe(root, **data):
    found = {"root": str(root), "from_landmarks": False, **data}
    return Recipe("emotion/tiny", 3, Optim(1, 8), TINY, found)


@pytest.fixture(scope="module")
def task(expressive_faces):
    # Of the ten training people one is held out, whoever their names' hashes choose.
    return EmotionTask(recipe(expressive_faces))


def test_batches_mix_photographs_and_pictures_in_a_fixed_part(task):
    one, two = next(task.batches(4)), next(task.batches(4))
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not torch.equal(one["crop"], next(task.batches(5))["crop"])
    assert one["crop"].shape == (8, 1, 64, 64)
    assert torch.allclose(one["target"].sum(1)[one["weight"] > 0], torch.ones(1), atol=1e-5)
    photographs = round(training.PHOTOGRAPHS * 8)
    known = {tuple(np.float32(t)) for t in task.photographs.targets} | {
        tuple(np.float32(task.ignorance))
    }
    voted = {tuple(np.float32(t)) for t in task.pictures.targets}
    rows = [tuple(row) for row in one["target"].numpy()]
    assert set(rows[:photographs]) <= known
    assert set(rows[photographs:]) <= voted | {tuple(np.float32(task.ignorance))}


def test_people_who_are_held_out_are_calibrated_on_and_not_trained_on(task, expressive_faces):
    table = pl.read_parquet(expressive_faces / "labels.parquet").filter(pl.col("split") == "train")
    apart = held_out(table)
    labelled = table["emotion"].is_in(EMOTIONS).fill_null(False).to_numpy()
    assert len(task.photographs) == (~apart).sum()
    assert len(task.calibration) == (apart & labelled).sum() == len(task.calibration_labels)


def test_every_row_comes_once_before_any_comes_again():
    rows = training._rows(7, 3, np.random.default_rng(0))
    drawn = np.concatenate([next(rows) for _ in range(7)])
    for start in (0, 7, 14):
        assert sorted(drawn[start : start + 7]) == list(range(7))


def test_loss_is_the_weighted_cross_entropy(task):
    logits = torch.randn(3, 7, generator=torch.manual_seed(0))
    target = torch.softmax(torch.randn(3, 7, generator=torch.manual_seed(1)), 1)
    weight = torch.tensor([1.0, 0.0, 0.5])
    batch = {"crop": None, "target": target, "weight": weight}
    terms = task.loss(lambda crop: logits, batch, 0)
    p, q = target.double().numpy(), torch.log_softmax(logits, 1).double().numpy()
    each = -(p * q).sum(1)
    assert terms["loss"].item() == pytest.approx((each[0] + each[2] / 2) / 1.5, rel=1e-5)
    kl = each + (p * np.log(p)).sum(1)
    assert terms["above_entropy"].item() == pytest.approx((kl[0] + kl[2] / 2) / 1.5, rel=1e-4)


def test_a_picture_that_nobody_voted_on_changes_nothing(task):
    logits = torch.randn(2, 7, generator=torch.manual_seed(0))
    target = torch.tensor([[0, 0, 0, 1.0, 0, 0, 0], [0.0] * 7])
    batch = {"crop": None, "target": target, "weight": torch.tensor([1.0, 0.0])}
    terms = task.loss(lambda crop: logits, batch, 0)
    assert terms["loss"].item() == pytest.approx(-torch.log_softmax(logits, 1)[0, 3].item())


def test_the_prior_is_what_the_batches_teach_on_average(task):
    prior = task.model.prior.numpy()
    photos, votes = task.photographs, task.pictures
    part = training.PHOTOGRAPHS
    for k in range(7):
        one = sum(w * t[k] for w, t in zip(photos.weights, photos.targets, strict=True))
        two = sum(w * t[k] for w, t in zip(votes.weights, votes.targets, strict=True))
        expected = part * one / sum(photos.weights) + (1 - part) * two / sum(votes.weights)
        assert prior[k] == pytest.approx(expected, abs=1e-6)
    assert prior.sum() == pytest.approx(1, abs=1e-6)


def test_figures_by_hand():
    logits = np.log(np.array([[8, 1, 1, 1, 1, 1, 1]] * 4, np.float32) / 14)
    told = figures("x", logits, np.array([0, 0, 0, 6]))
    assert told["x_accuracy"] == 0.75
    assert np.isnan(told["x_balanced"])  # no class has 15
    assert told["x_calibration_error"] == pytest.approx(0.75 - 8 / 14, abs=1e-6)
    assert figures("x", logits[:0], np.zeros(0, int)) == {}


def test_finish_rescales_the_last_layer(task, monkeypatch):
    model = EmotionNet(64, (4, 4, 4, 4), (0, 0, 0), 8).eval()
    monkeypatch.setattr(training, "fit_scale", lambda logits, labels: 2.5)
    x = torch.randn(2, 1, 64, 64, generator=torch.manual_seed(5))
    with torch.no_grad():
        nn.init.normal_(model.classes.bias)
        before = model(x)
        told = task.finish(model)
        assert torch.allclose(model(x), 2.5 * before, atol=1e-5)
    assert told == {"calibration_scale": 2.5}


def test_validation_reads_val_and_runs_through_the_network(task, expressive_faces):
    """A network that always says what it is built to say is right as often as that is the label."""
    table = pl.read_parquet(expressive_faces / "labels.parquet").filter(pl.col("split") == "val")
    labels = [e for e in table["emotion"].to_list() if e in EMOTIONS]
    said = EMOTIONS.index(labels[0])

    def always(x):
        return torch.eye(7)[said].expand(len(x), 7) * 5.0

    told = task.validate(always)
    assert told["photo_accuracy"] == pytest.approx(labels.count(labels[0]) / len(labels), abs=1e-4)
    assert task.model.training


def test_a_network_of_another_shape_cannot_take_the_trunk():
    with pytest.raises(TrainingError, match="from_landmarks"):
        take_trunk(EmotionNet(64, (4, 4, 4, 4), (0, 0, 0), 8))


def test_recipes_and_folders_that_cannot_be_used_are_named(expressive_faces, mini_faces):
    with pytest.raises(RecipeError, match="colour"):
        EmotionTask(recipe(expressive_faces, colour=True))
    with pytest.raises(MissingInputError, match=r"ferplus\.parquet"):
        EmotionTask(recipe(mini_faces))
