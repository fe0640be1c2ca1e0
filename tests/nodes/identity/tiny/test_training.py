import math

import numpy as np
import pytest
import torch

from featflow.errors import RecipeError, TrainingError
from featflow.nodes.identity.tiny.data import NOBODY
from featflow.nodes.identity.tiny.network import IdentityNet
from featflow.nodes.identity.tiny.training import MARGIN, SCALE, IdentityTask
from featflow.train.losses import ArcFace
from featflow.train.recipe import Optim, Recipe

SMALL = {"widths": [4, 4, 4, 4], "blocks": [0, 0, 0]}


def recipe(root, batch_size=8, **data):
    return Recipe("identity/tiny", 0, Optim(1, batch_size), SMALL, {"root": str(root), **data})


@pytest.fixture(scope="module")
def task(people_faces):
    return IdentityTask(recipe(people_faces))


def test_batches_hold_crops_teachers_and_people_of_the_same_rows(task):
    one, two = next(task.batches(4)), next(task.batches(4))
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not torch.equal(one["crop"], next(task.batches(5))["crop"])
    assert one["crop"].shape == (8, 3, 64, 64)
    for target, person in zip(one["target"].numpy(), one["person"].numpy(), strict=True):
        row = int((task.targets @ target).argmax())
        assert np.allclose(task.targets[row], target)
        assert task.person[row] == person


def test_centres_are_the_teachers_and_stay(task):
    named = task.person != NOBODY
    assert task.margin.centres.shape == (35, 128)
    assert not task.margin.centres.requires_grad
    cosine = task.targets[named] @ task.margin.centres.numpy().T
    assert (cosine.argmax(1) == task.person[named]).all()
    assert not {id(p) for p in task.margin.parameters()} & {id(p) for p in task.model.parameters()}


def test_loss_and_its_parts(task):
    """One face on its centre, one at a known angle from the teacher and without a name."""
    centres = torch.eye(3, 128)
    made = IdentityTask.__new__(IdentityTask)
    made.margin = ArcFace(128, 3, MARGIN, SCALE).requires_grad_(False)
    made.margin.centres.copy_(centres)
    angle = 0.7
    turned = math.cos(angle) * centres[0] + math.sin(angle) * centres[1]
    batch = {
        "crop": torch.zeros(2, 3, 1, 1),
        "target": torch.stack([centres[0], turned]),
        "person": torch.tensor([0, NOBODY]),
    }
    terms = made.loss(lambda crop: centres[[0, 0]], batch, 0)
    assert terms["teacher"].item() == pytest.approx((1 - math.cos(angle)) / 2, abs=1e-6)
    own = SCALE * math.cos(MARGIN)
    wanted = (math.log(math.exp(own) + 2) - own) / SCALE
    assert terms["apart"].item() == pytest.approx(wanted, abs=1e-4)
    assert terms["loss"].item() == pytest.approx(wanted + (1 - math.cos(angle)) / 2, abs=1e-4)
    other = made.loss(lambda crop: centres[[1, 0]], batch, 0)
    assert other["apart"].item() > 1.0


def test_validation_of_a_perfect_and_of_a_constant_network(task, monkeypatch):
    monkeypatch.setattr(task, "embed", lambda model: task.val_targets)
    figures = task.validate(task.model)
    assert figures["cosine"] == pytest.approx(1.0, abs=1e-6)
    assert figures["auc"] > 0.99
    draws = np.random.default_rng(0).standard_normal(task.val_targets.shape)
    monkeypatch.setattr(task, "embed", lambda model: draws.astype(np.float32))
    assert 0.3 < task.validate(task.model)["auc"] < 0.7


def test_embeddings_are_of_the_photographs_to_validate_on(task):
    with torch.inference_mode():
        vectors = task.embed(task.model.eval())
    assert vectors.shape == (len(task.val_names), 128)
    assert len(task.val_names) == 25
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


def test_developing_leaves_val_alone(people_faces, task):
    developing = IdentityTask(recipe(people_faces, develop=True))
    assert set(developing.val_names) <= {f"P{i:02}" for i in range(40) if i % 8 != 7} | {""}
    assert len(developing.train) + len(developing.val) == len(task.train)
    with pytest.raises(RecipeError, match="develop"):
        IdentityTask(recipe(people_faces, develop="yes"))


def test_too_few_photographs_are_an_error_not_a_hang(people_faces):
    with pytest.raises(TrainingError, match="500"):
        IdentityTask(recipe(people_faces, batch_size=500))


def test_a_few_steps_follow_the_teacher(task):
    """One batch seen again and again comes nearer to the teacher and to its people."""
    torch.manual_seed(0)
    model = IdentityNet(64, (8, 8, 16, 32), (0, 0, 0)).train()
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    batch = next(task.batches(9))
    course = []
    for step in range(15):
        optimiser.zero_grad()
        terms = task.loss(model, batch, step)
        terms["loss"].backward()
        optimiser.step()
        course.append({name: value.item() for name, value in terms.items()})
    assert course[-1]["teacher"] < 0.7 * course[0]["teacher"]
    assert course[-1]["apart"] < 0.7 * course[0]["apart"]
