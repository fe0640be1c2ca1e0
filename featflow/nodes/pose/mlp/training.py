"""Training of ``pose/mlp``: exact geometry, with some photographs so that people look real."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from featflow.datasets.labelled import LabelledFaces
from featflow.geometry.landmarks import interocular
from featflow.geometry.rotation import angle_between, angles_from_rotation
from featflow.nodes.pose.mlp.data import (
    FaceShapes,
    Heads,
    LandmarkErrors,
    Ranges,
    random_heads,
)
from featflow.nodes.pose.mlp.network import PoseNet
from featflow.nodes.pose.mlp.node import normalise
from featflow.train.recipe import Recipe
from featflow.train.task import Terms

Floats = NDArray[np.floating[Any]]

AXES = ("pitch", "roll", "yaw")
_CHECK_NOISE = 0.04
_CHECK_SEED = 68


class PoseTask:
    """Network, data and loss of ``pose/mlp``."""

    def __init__(self, recipe: Recipe) -> None:
        torch.manual_seed(recipe.seed)
        options = dict(recipe.data)
        faces, geometry = str(options.pop("faces")), str(options.pop("geometry"))
        self.photographs = float(options.pop("photographs", 0.0))
        self.batch_size = recipe.optim.batch_size
        self.model: nn.Module = PoseNet(**recipe.model)
        self.shapes = FaceShapes.open(geometry)
        self.ranges = Ranges.read(options)
        self.errors = LandmarkErrors(self.shapes.neutral, self.ranges)
        self.train = LabelledFaces.open(faces, "train")
        self.val = LabelledFaces.open(faces, "val")
        self.data_version = f"{self.shapes.version}, labels.parquet {self.train.version}"

    def batches(self, seed: int) -> Iterator[Mapping[str, Tensor]]:
        """Endless batches of normalised points with rotation, scale and origin."""
        rng = np.random.default_rng(seed)
        seen = round(self.photographs * self.batch_size)
        points, rotations = self.train.landmarks.astype(np.float64), self.train.rotations
        while True:
            heads = random_heads(self.shapes, self.ranges, rng, self.batch_size - seen)
            rows = rng.integers(0, len(points), seen)
            yield self._batch(heads, points[rows], rotations[rows], rng)

    def _batch(
        self,
        heads: Heads,
        photo_points: NDArray[np.float64],
        photo_rotations: NDArray[np.float64],
        rng: np.random.Generator,
    ) -> dict[str, Tensor]:
        """Rendered heads first, then photographs, whose scale and origin are unknown (NaN)."""
        eyes = np.concatenate([_eye_distance(heads), interocular(photo_points)])
        clean = np.concatenate([heads.points, photo_points])
        points, centre, spread = normalise(clean + self.errors.draw(eyes, rng))
        known = len(heads.points)
        scale = np.full(len(clean), np.nan)
        scale[:known] = np.log(heads.scale / spread[:known])
        origin = np.full((len(clean), 2), np.nan)
        origin[:known] = (heads.origin - centre[:known]) / spread[:known, None]
        rotation = np.concatenate([heads.rotation, photo_rotations])
        arrays = {"points": points, "rotation": rotation, "scale": scale, "origin": origin}
        return {name: torch.from_numpy(a.astype(np.float32)) for name, a in arrays.items()}

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor], step: int) -> Terms:
        """Distance of the matrices, and smooth absolute errors of scale and origin."""
        rotation, scale, origin = model(batch["points"])
        turn = (rotation - batch["rotation"]).flatten(1).norm(dim=-1).mean()
        known = batch["scale"].isfinite()
        size = F.smooth_l1_loss(scale[known], batch["scale"][known], beta=0.05)
        place = F.smooth_l1_loss(origin[known], batch["origin"][known], beta=0.05)
        return {"loss": turn + size + place, "turn": turn, "size": size, "place": place}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Mean absolute errors in degrees on ``val`` photographs and on unseen exact heads."""
        rng = np.random.default_rng(_CHECK_SEED)
        points = self.val.landmarks.astype(np.float64)
        noise = rng.normal(size=points.shape) * _CHECK_NOISE / np.sqrt(np.pi / 2)
        noisy = points + noise * interocular(points)[:, None, None]
        heads = random_heads(self.shapes, self.ranges, rng, 4000)
        return {
            **angle_errors("photo", predict(model, points)[0], self.val.rotations),
            **angle_errors("photo_noisy", predict(model, noisy)[0], self.val.rotations),
            **self._exact(model, heads, rng),
        }

    def _exact(self, model: nn.Module, heads: Heads, rng: np.random.Generator) -> dict[str, float]:
        points = heads.points + self.errors.draw(_eye_distance(heads), rng)
        rotation, scale, origin = predict(model, points)
        unit = _eye_distance(heads)
        return {
            **angle_errors("exact", rotation, heads.rotation),
            "exact_distance_relative": float(np.median(np.abs(heads.scale / scale - 1))),
            "exact_origin_interocular": float(
                np.median(np.linalg.norm(origin - heads.origin, axis=-1) / unit)
            ),
        }


def _eye_distance(heads: Heads) -> Floats:
    """Inter-ocular distance (N,) in pixels that a frontal face would have there."""
    return heads.scale * 8.9


def predict(model: nn.Module, points: NDArray[np.float64]) -> tuple[Floats, Floats, Floats]:
    """Rotation, pixels per centimetre and origin in pixels of faces (N, 68, 2)."""
    unit, centre, spread = normalise(points)
    outputs = model(torch.from_numpy(unit.astype(np.float32)))
    rotation, scale, origin = (np.asarray(x, np.float64) for x in outputs)
    place = np.asarray(centre + origin * spread[:, None], np.float64)
    return rotation, np.exp(scale) * spread, place


def angle_errors(name: str, rotation: Floats, truth: Floats) -> dict[str, float]:
    """Mean absolute error of each angle and of the whole rotation, in degrees."""
    gap = angles_from_rotation(rotation) - angles_from_rotation(truth)
    gap = np.abs((gap + np.pi) % (2 * np.pi) - np.pi)
    figures = dict(zip(AXES, np.degrees(gap).mean(0).tolist(), strict=True))
    figures["angle"] = float(np.degrees(angle_between(rotation, truth)).mean())
    return {f"{name}_{axis}_deg": round(value, 3) for axis, value in figures.items()}


def build_task(recipe: Recipe) -> PoseTask:
    """The task that ``featflow train`` fits."""
    return PoseTask(recipe)
