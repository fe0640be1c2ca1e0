"""Training of ``au/tiny``: photographs by their teacher, points also by exact geometry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featflow.datasets.labelled import LabelledFaces
from featflow.errors import RecipeError, TrainingError
from featflow.evaluation.agreement import ccc
from featflow.nodes._layers import channels_last
from featflow.nodes.au.tiny.geometry import MovingFaces
from featflow.nodes.au.tiny.losses import discord, unit_loss
from featflow.nodes.au.tiny.network import ActionUnitNet
from featflow.nodes.au.tiny.node import CROP, SPEC
from featflow.nodes.au.tiny.photographs import UnitCrops
from featflow.nodes.au.tiny.units import SILENT, UNITS
from featflow.train.recipe import Recipe, build_model, data_root
from featflow.train.task import Terms

JITTERS = (0.01, 0.03)
_CHECK_SEED = 68
_CHECK_FACES = 2000
_LEAST_SPREAD = 0.02


class ActionUnitTask:
    """Network, data and loss of ``au/tiny``."""

    def __init__(self, recipe: Recipe) -> None:
        torch.manual_seed(recipe.seed)
        root = data_root(recipe, "geometry")
        self.batch_size = recipe.optim.batch_size
        self.model: nn.Module = channels_last(build_model(recipe, ActionUnitNet, CROP.size))
        self.moving = MovingFaces.open(_folder(recipe, "geometry"))
        train = LabelledFaces.open(root, "train")
        if len(train) < self.batch_size:
            raise TrainingError(
                f"{root}: {len(train)} training photographs do not fill a batch of "
                f"{self.batch_size}"
            )
        self.train = UnitCrops(train, JITTERS, recipe.seed)
        self.val = UnitCrops(LabelledFaces.open(root, "val"), (0.0,))
        self.spread = spread_of(self.train.units)
        self.data_version = f"labels.parquet {train.version}, {self.moving.shapes.version}"

    def batches(self, seed: int) -> Iterator[Mapping[str, Tensor]]:
        """Endless photographs and, as ``exact_*``, as many exact faces without pixels."""
        rng = np.random.default_rng(seed)
        chances = self.train.chances()
        while True:
            rows = rng.choice(len(chances), self.batch_size, p=chances)
            batch = collate(self.train.augmented(rows, rng))
            points, units = self.moving.draw(rng, self.batch_size)
            batch["exact_points"] = torch.from_numpy(points)
            batch["exact_units"] = torch.from_numpy(units)
            yield batch

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor], step: int) -> Terms:
        """Both sources; points alone have to do their best too."""
        assert isinstance(model, ActionUnitNet)  # noqa: S101 - for the type checker
        logits, shape = model(batch["crop"], batch["points"])
        exact, _ = model.from_points(batch["exact_points"])
        photo = unit_loss(logits, batch["units"], self.spread)
        apart = discord(logits.sigmoid(), batch["units"])
        points = unit_loss(shape, batch["units"], self.spread)
        moved = unit_loss(exact, batch["exact_units"], torch.full_like(self.spread, 0.25))
        moved_apart = discord(exact.sigmoid(), batch["exact_units"])
        total = photo + 2 * apart + 0.3 * points + 0.3 * moved + 0.3 * moved_apart
        return {
            "loss": total,
            "photo": photo,
            "photo_discord": apart,
            "points": points,
            "exact": moved,
            "exact_discord": moved_apart,
        }

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Correlation with the teacher on ``val``, and with the truth on exact faces."""
        assert isinstance(model, ActionUnitNet)  # noqa: S101 - for the type checker
        seen, alone = self._predict(model)
        truth = self.val.units
        points, units = self.moving.draw(np.random.default_rng(_CHECK_SEED), _CHECK_FACES)
        exact, _ = model.from_points(torch.from_numpy(points))
        photo = correlations(truth, seen)
        figures = {
            "correlation": float(np.nanmean(list(photo.values()))),
            "above_05": float(sum(value >= 0.5 for value in photo.values())),
            "concordance": float(np.nanmean([ccc(truth[:, i], seen[:, i]) for i in _taught()])),
        }
        for name, found in (
            ("photo", photo),
            ("points_alone", correlations(truth, alone)),
            ("exact", correlations(units, exact.sigmoid().numpy())),
        ):
            figures.update({f"{name}_{unit}": round(value, 4) for unit, value in found.items()})
        return figures

    def _predict(self, model: nn.Module) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Units (N, 20) of the val photographs, by crop and points and by points alone."""
        pairs = []
        for start in range(0, len(self.val), 64):
            rows = np.arange(start, min(start + 64, len(self.val)))
            batch = collate(self.val.plain(rows))
            logits, shape = model(batch["crop"], batch["points"])
            pairs.append(torch.stack([logits, shape]).sigmoid())
        both = torch.cat(pairs, 1).numpy()
        return both[0], both[1]


def _taught() -> list[int]:
    return [i for i, unit in enumerate(UNITS) if unit not in SILENT]


def _folder(recipe: Recipe, key: str) -> str:
    value = recipe.data.get(key)
    if not isinstance(value, str):
        raise RecipeError(f"{recipe.path}: [data] {key} must name a folder, got {value!r}")
    return value


def spread_of(units: NDArray[np.float32]) -> Tensor:
    """(20,) standard deviation of the units, bounded from below."""
    deviation = np.nan_to_num(units.std(0), nan=1.0)
    return torch.from_numpy(np.maximum(deviation, _LEAST_SPREAD).astype(np.float32))


def correlations(truth: NDArray[Any], predicted: NDArray[Any]) -> dict[str, float]:
    """Pearson correlation of each unit whose truth varies."""
    found = {}
    for index, unit in enumerate(UNITS):
        a, b = truth[:, index], predicted[:, index]
        if np.isfinite(a).all() and a.std() > 1e-3 and b.std() > 0:
            found[unit] = float(np.corrcoef(a, b)[0, 1])
    return found


def collate(sample: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    """Arrays of a sample as the network and the loss take them; silent units are unknown."""
    units = sample["units"].astype(np.float32).copy()
    units[:, [UNITS.index(unit) for unit in SILENT]] = np.nan
    return {
        "crop": SPEC.prepare(sample["crop"], torch.device("cpu")),
        "points": torch.from_numpy(sample["points"].astype(np.float32)),
        "units": torch.from_numpy(units),
    }


def build_task(recipe: Recipe) -> ActionUnitTask:
    """The task that ``featflow train`` fits."""
    return ActionUnitTask(recipe)
