"""Training of gaze: the loss by its formula, batches by their seed, and figures by value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from featflow.errors import TrainingError
from featflow.evaluation.gaze import gaze_figures, score_figures
from featflow.evaluation.shapes import direction
from featflow.nodes.gaze.tiny.network import Gaze
from featflow.nodes.gaze.tiny.training import GazeTask, vectors
from featflow.train.recipe import Optim, Recipe


@pytest.fixture(scope="module")
def gaze_faces(mini_faces: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The small set of photographs with gaze and irises."""
    root = tmp_path_factory.mktemp("gaze")
    (root / "images").symlink_to(Path(mini_faces) / "images")
    table = pl.read_parquet(Path(mini_faces) / "labels.parquet")
    count = len(table)
    points = np.array(table["landmarks68"].to_list()).reshape(count, 68, 2)
    eyes = [points[:, 36:42].mean(1), points[:, 42:48].mean(1)]
    iris = np.repeat(np.stack(eyes, 1), 5, 1).reshape(count, 20)
    rng = np.random.default_rng(0)
    table.with_columns(
        gaze_pitch=pl.Series(rng.normal(0, 0.1, count)),
        gaze_yaw=pl.Series(rng.normal(0, 0.2, count)),
        gaze_conf=pl.Series(rng.random(count)),
        iris=pl.Series(iris.tolist(), dtype=pl.Array(pl.Float64, 20)),
    ).write_parquet(root / "labels.parquet")
    return str(root)


def make(root: str, batch_size: int = 5, **data: Any) -> GazeTask:
    options = {"root": root, "placings": 0, **data}
    return GazeTask(Recipe("gaze/tiny", 0, Optim(1, batch_size), {"hidden": 8}, options))


def test_vectors_are_the_directions_that_figures_use() -> None:
    angles = torch.tensor([[0.2, -0.5], [-0.4, 1.0], [0.0, 0.0]]).double()
    np.testing.assert_allclose(vectors(angles), direction(*angles.numpy().T), atol=1e-12)


def test_loss_is_the_weighted_distance_of_the_directions() -> None:
    task = GazeTask.__new__(GazeTask)
    nothing = torch.full((2, 2, 2), 10.0)
    batch = {
        "right": torch.zeros(2),
        "left": torch.zeros(2),
        "points": torch.zeros(2),
        "gaze": torch.tensor([[0.0, 0.2], [0.1, 0.0]]),
        "iris": nothing.clone(),
        "weight": torch.tensor([3.0, 1.0]),
    }
    batch["iris"][0, 0] = torch.nan

    def said(angles: list[list[float]], logits: list[float]) -> Callable[..., Gaze]:
        answer = Gaze(torch.tensor(angles), torch.tensor(logits), nothing.clone())
        return lambda *inputs: answer

    right = task.loss(said([[0.0, 0.2], [0.1, 0.0]], [30.0, 30.0]), batch, 0)  # type: ignore[arg-type]
    assert right["loss"].item() == pytest.approx(0.0, abs=1e-6)
    # A chord of 2 sin(angle / 2); 0.3 rad is 17 degrees, so neither was found.
    wrong = task.loss(said([[0.0, -0.1], [0.1, 0.3]], [-30.0, -30.0]), batch, 0)  # type: ignore[arg-type]
    first = 2 * np.sin(0.15)
    second = 2 * np.sin(np.arccos(np.cos(0.1) ** 2 * np.cos(0.3) + np.sin(0.1) ** 2) / 2)
    expected = (3 * first + second) / 4
    assert wrong["loss"].item() == pytest.approx(expected, abs=1e-5)
    assert wrong["gaze_deg"].item() == pytest.approx(np.degrees(expected), abs=1e-3)
    sure = task.loss(said([[0.0, -0.1], [0.1, 0.3]], [30.0, 30.0]), batch, 0)  # type: ignore[arg-type]
    assert sure["found"].item() == pytest.approx(30.0, rel=1e-3)


def test_a_flipped_sign_costs() -> None:
    task = GazeTask.__new__(GazeTask)
    iris = torch.full((1, 2, 2), 10.0)
    batch = {"gaze": torch.tensor([[0.2, 0.4]]), "iris": iris, "weight": torch.ones(1)}
    batch.update({name: torch.zeros(1) for name in ("right", "left", "points")})
    costs = {
        signs: task.loss(
            lambda *_, s=signs: Gaze(
                torch.tensor([[0.2 * s[0], 0.4 * s[1]]]), torch.zeros(1), iris
            ),  # type: ignore[arg-type]
            batch,
            0,
        )["loss"].item()
        for signs in ((1, 1), (-1, 1), (1, -1))
    }
    assert costs[1, 1] < 0.05 < costs[-1, 1] < costs[1, -1]


def test_batches_and_validation_on_photographs(gaze_faces: str) -> None:
    task = make(gaze_faces)
    one, two = next(task.batches(4)), next(task.batches(4))
    assert all(torch.equal(one[k].nan_to_num(), two[k].nan_to_num()) for k in one)
    assert not torch.equal(one["right"], next(task.batches(5))["right"])
    assert one["right"].shape == one["left"].shape == (5, 1, 32, 48)
    assert one["iris"].shape == (5, 2, 2)
    truth = torch.tensor(task.val.placings[0].gaze)
    taken = iter(range(0, len(truth), 64))

    def oracle(right: torch.Tensor, left: torch.Tensor, points: torch.Tensor) -> Gaze:
        start = next(taken)
        part = truth[start : start + 64]
        return Gaze(part, torch.zeros(len(part)), torch.zeros(2, len(part), 2))

    figures = task.validate(oracle)  # type: ignore[arg-type]
    assert figures["error_deg"] == pytest.approx(0.0, abs=1e-3)
    assert figures["faces"] == len(truth) // 2


def test_too_few_photographs_are_an_error_not_a_hang(gaze_faces: str) -> None:
    with pytest.raises(TrainingError, match="64"):
        make(gaze_faces, batch_size=64)


def test_figures_by_value() -> None:
    rng = np.random.default_rng(2)
    truth = rng.normal(0, 0.2, (400, 4))
    same = gaze_figures(truth, truth)
    assert same["error_deg"] == pytest.approx(0, abs=1e-6)
    assert same["yaw_in_head_r"] == pytest.approx(1)
    off = truth + [0.0, np.radians(5.0), 0.0, 0.0]
    off[:, 0] = truth[:, 0] = 0.0  # along the horizon a yaw of 5 degrees is an angle of 5
    assert gaze_figures(truth, off)["error_deg"] == pytest.approx(5.0)
    flipped = truth * [1.0, -1.0, 1.0, 1.0]
    assert gaze_figures(truth, flipped)["yaw_r"] == pytest.approx(-1)
    missing = truth.copy()
    missing[:100] = np.nan
    assert gaze_figures(truth, missing)["missed"] == 100
    head_only = np.concatenate([truth[:, 2:], truth[:, 2:]], 1)
    head_only[:, 1] += rng.normal(0, 1e-3, 400)
    assert abs(gaze_figures(truth, head_only)["yaw_in_head_r"]) < 0.2


def test_a_score_that_tells_good_from_bad() -> None:
    truth = np.zeros((4, 4))
    seen = np.zeros((4, 4))
    seen[:2, 1] = np.radians(20)
    found = score_figures(truth, seen, np.array([0.1, 0.2, 0.8, 0.9]))
    assert found["error_deg_lower_half"] == pytest.approx(20)
    assert found["error_deg_upper_half"] == pytest.approx(0)
    assert found["within_8_deg"] == 0.5
    assert found["mean_score"] == pytest.approx(0.5)
