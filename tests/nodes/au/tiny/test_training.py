import numpy as np
import pytest
import torch

from featflow.errors import RecipeError, TrainingError
from featflow.nodes.au.tiny.network import ActionUnitNet
from featflow.nodes.au.tiny.training import ActionUnitTask, collate, correlations, spread_of
from featflow.nodes.au.tiny.units import SILENT, UNITS
from featflow.train.recipe import Optim, Recipe

SMALL = {"widths": [4, 4, 8, 8], "blocks": [0, 0, 0], "points": 16, "hidden": 8}


def recipe(root, geometry, batch=5):
    return Recipe("au/tiny", 0, Optim(1, batch), SMALL, {"root": root, "geometry": str(geometry)})


@pytest.fixture(scope="module")
def task(unit_faces, shared):
    return ActionUnitTask(recipe(unit_faces, shared / "geometry"))


def test_batches_repeat_for_a_seed_and_hold_both_sources(task):
    one, two = next(task.batches(4)), next(task.batches(4))
    assert all(torch.equal(one[k].nan_to_num(-1), two[k].nan_to_num(-1)) for k in one)
    assert not torch.equal(one["crop"], next(task.batches(5))["crop"])
    assert one["crop"].shape == (5, 3, 80, 80)
    assert one["exact_points"].shape == one["points"].shape == (5, 68, 2)
    silent = [UNITS.index(unit) for unit in SILENT]
    assert one["units"][:, silent].isnan().all()
    assert one["exact_units"].isnan().all(0).nonzero().tolist() == [[UNITS.index("AU11")]]


def test_what_is_silent_in_photographs_is_learned_from_exact_faces_alone(task):
    task.model.train()
    batch = next(task.batches(0))
    task.loss(task.model, batch, 0)["loss"].backward()
    gradient = task.model.shape_units.weight.grad.abs().sum(1)
    pixels = task.model.join[-1].weight.grad.abs().sum(1)
    task.model.zero_grad()
    for unit, by_points, by_pixels in zip(UNITS, gradient, pixels, strict=True):
        assert (by_points > 0) == (unit != "AU11"), unit
        assert (by_pixels > 0) == (unit not in SILENT), unit


def test_the_truth_costs_less_than_its_opposite(task):
    batch = dict(next(task.batches(0)))
    # Five faces may leave a unit still, whose concordance is then nothing; two hundred do not.
    points, units = task.moving.draw(np.random.default_rng(0), 200)
    batch |= {"exact_points": torch.from_numpy(points), "exact_units": torch.from_numpy(units)}

    class Oracle(ActionUnitNet):
        sign = 1.0

        def forward(self, crop, points):
            logits = self.sign * batch["units"].nan_to_num(0.5).logit(1e-4)
            return logits, logits

        def from_points(self, points):
            return self.sign * batch["exact_units"].nan_to_num(0.5).logit(1e-4), points

    right = task.loss(Oracle(32, (4, 4, 4, 4)), batch, 0)
    wrong_model = Oracle(32, (4, 4, 4, 4))
    wrong_model.sign = -1.0
    wrong = task.loss(wrong_model, batch, 0)
    assert right["photo_discord"].item() == pytest.approx(0, abs=0.02)
    assert right["exact_discord"].item() == pytest.approx(0, abs=0.02)
    assert all(right[name] < wrong[name] for name in right)


def test_a_few_steps_help(task):
    torch.manual_seed(0)
    model = ActionUnitNet(80, (4, 4, 8, 8), (0, 0, 0), points=32, hidden=16)
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    batch = next(task.batches(0))
    losses = []
    for step in range(30):
        loss = task.loss(model, batch, step)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_validation_reports_each_source(task):
    task.model.eval()
    with torch.inference_mode():
        figures = task.validate(task.model)
    assert {f"photo_{unit}" for unit in UNITS if unit not in SILENT} <= set(figures)
    assert "exact_AU06" in figures
    assert not {"photo_AU06", "exact_AU11"} & set(figures)
    assert -1 <= figures["correlation"] <= 1


def test_correlations_are_pearsons_and_leave_out_what_does_not_vary():
    rng = np.random.default_rng(0)
    truth, seen = rng.random((40, 20)), rng.random((40, 20))
    truth[:, 1] = 0.0
    truth[0, 2] = np.nan
    found = correlations(truth, seen)
    assert set(UNITS) - set(found) == {"AU02", "AU04"}
    a, b = truth[:, 5] - truth[:, 5].mean(), seen[:, 5] - seen[:, 5].mean()
    wanted = (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())
    assert found["AU07"] == pytest.approx(wanted)


def test_spread_is_bounded_from_below():
    units = np.zeros((10, 20), np.float32)
    units[::2, 0] = 1.0
    units[:, 8] = np.nan
    assert spread_of(units).tolist()[:2] == pytest.approx([0.5, 0.02])
    assert spread_of(units)[8].item() == 1.0


def test_silent_units_are_unknown_to_the_loss():
    sample = {
        "crop": np.zeros((2, 80, 80, 3), np.uint8),
        "points": np.zeros((2, 68, 2)),
        "units": np.ones((2, 20), np.float32),
    }
    units = collate(sample)["units"]
    known = units.isfinite().all(0)
    assert {unit for unit, k in zip(UNITS, known.tolist(), strict=True) if not k} == set(SILENT)
    assert np.isfinite(sample["units"]).all()


def test_too_few_photographs_and_a_missing_folder_are_errors(unit_faces, shared):
    with pytest.raises(TrainingError, match="64"):
        ActionUnitTask(recipe(unit_faces, shared / "geometry", batch=64))
    wrong = Recipe("au/tiny", 0, Optim(1, 5), SMALL, {"root": unit_faces})
    with pytest.raises(RecipeError, match="geometry"):
        ActionUnitTask(wrong)
