"""Training of ``landmark/tiny``: crops around jittered five points, Wing loss on 68 points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from featflow.datasets.labelled import Image, LabelledFaces
from featflow.errors import TrainingError
from featflow.geometry.crop import complete_points5
from featflow.geometry.landmarks import MIRROR_68, interocular
from featflow.geometry.similarity import apply, compose, umeyama
from featflow.geometry.warp import warp
from featflow.nodes._layers import channels_last
from featflow.nodes.landmark.tiny.network import LandmarkNet
from featflow.nodes.landmark.tiny.node import CROP, SPEC
from featflow.train.losses import wing_loss
from featflow.train.photometric import Rng, cover, degrade, relight
from featflow.train.recipe import Recipe, build_model, data_root
from featflow.train.task import Terms

GOOD_ERROR = 0.08
"""A face counts as found where its mean error is below this part of the inter-ocular distance."""


class LandmarkTask:
    """Network, data and loss of ``landmark/tiny``."""

    def __init__(self, recipe: Recipe) -> None:
        torch.manual_seed(recipe.seed)
        root = data_root(recipe)
        self.batch_size = recipe.optim.batch_size
        self.model: nn.Module = channels_last(build_model(recipe, LandmarkNet, CROP.size))
        self.train = CropSet(LabelledFaces.open(root, "train"))
        if len(self.train) < self.batch_size:
            raise TrainingError(
                f"{root}: {len(self.train)} training photographs do not fill a batch of "
                f"{self.batch_size}"
            )
        self.val = CropSet(LabelledFaces.open(root, "val"))
        self.data_version = f"labels.parquet {self.train.faces.version}"

    def batches(self, seed: int) -> Iterator[Mapping[str, Tensor]]:
        """Endless augmented crops (N, 3, S, S) with points (N, 68, 2) in crop pixels."""
        rng = np.random.default_rng(seed)
        while True:
            order = rng.permutation(len(self.train))
            for start in range(0, len(order) - self.batch_size + 1, self.batch_size):
                rows = order[start : start + self.batch_size]
                yield collate([self.train.augmented(int(row), rng) for row in rows])

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor], step: int) -> Terms:
        """Wing loss on the points, cross entropy on whether the face was found."""
        points, logit = model(batch["crop"])
        eyes = batch["interocular"][:, None, None]
        error = (points - batch["points"]) / eyes
        wing = wing_loss(error)
        mean_error = error.detach().norm(dim=-1).mean(-1)
        found = F.binary_cross_entropy_with_logits(logit, (mean_error < GOOD_ERROR).float())
        return {"loss": wing + 0.02 * found, "wing": wing, "found": found, "nme": mean_error.mean()}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Error over inter-ocular distance on ``val`` crops placed by the teacher's points."""
        errors: list[NDArray[np.float32]] = []
        logits: list[NDArray[np.float32]] = []
        for start in range(0, len(self.val), 64):
            rows = range(start, min(start + 64, len(self.val)))
            batch = collate([self.val.plain(row) for row in rows])
            points, logit = model(batch["crop"])
            error = (points - batch["points"]).norm(dim=-1).mean(-1) / batch["interocular"]
            errors.append(error.numpy())
            logits.append(logit.numpy())
        nme = np.concatenate(errors)
        return {
            "nme": float(nme.mean()),
            "nme_median": float(np.median(nme)),
            "above_010": float((nme > 0.10).mean()),
            "confidence": float((1 / (1 + np.exp(-np.concatenate(logits)))).mean()),
        }


class CropSet:
    """Photographs, five points and landmarks, and how a training crop is drawn from them."""

    def __init__(self, faces: LabelledFaces) -> None:
        self.faces = faces
        self.images: list[Image] = faces.read_all()
        self.landmarks = faces.landmarks
        self.box = self._complete_boxes()
        self.points5 = complete_points5(faces.points5, self.box)

    def __len__(self) -> int:
        return len(self.images)

    def _complete_boxes(self) -> NDArray[np.float32]:
        """RetinaFace boxes; where there is none, the box that the landmarks suggest."""
        low, high = self.landmarks.min(1), self.landmarks.max(1)
        size = high - low
        assumed = np.concatenate([low - size * [0.0, 0.30], high], 1)
        boxes = self.faces.boxes
        return np.where(np.isfinite(boxes), boxes, assumed).astype(np.float32)

    def plain(self, row: int) -> dict[str, Any]:
        """The crop that the node itself would cut from the teacher's points."""
        matrix = umeyama(self.points5[row], CROP.template())
        return self._sample(row, matrix)

    def augmented(self, row: int, rng: Rng) -> dict[str, Any]:
        """A crop as a bad detector, camera and light might give it."""
        matrix = compose(jitter(rng, CROP.size), self._start(row, rng))
        sample = self._sample(row, matrix)
        if rng.random() < 0.5:
            sample = mirrored(sample)
        crop = degrade(relight(sample["crop"], rng), rng)
        sample["crop"] = cover(crop, rng) if rng.random() < 0.15 else crop
        return sample

    def _start(self, row: int, rng: Rng) -> NDArray[np.float64]:
        """Usually the five points, moved a little each; sometimes the box alone, turned."""
        if rng.random() < 0.12:
            box = self.box[row : row + 1]
            points = complete_points5(np.full((1, 5, 2), np.nan), box)
            upright = umeyama(points, CROP.template())[0]
            return compose(turn(rng.normal(0, 0.25), CROP.size), upright)
        side = float(np.ptp(self.box[row].reshape(2, 2), axis=0).max())
        moved = self.points5[row] + rng.normal(0, 0.02 * side, (5, 2))
        return umeyama(moved, CROP.template())

    def _sample(self, row: int, matrix: NDArray[np.float64]) -> dict[str, Any]:
        points = apply(matrix, self.landmarks[row])
        crop = warp(self.images[row], matrix, (CROP.size, CROP.size), CROP.outside)
        return {"crop": crop, "points": points, "interocular": interocular(points)}


def jitter(rng: Rng, size: int) -> NDArray[np.float64]:
    """A small random turn, zoom and shift about the crop's centre."""
    zoom = np.exp(rng.normal(0, 0.07))
    matrix = turn(rng.normal(0, 0.12), size)
    matrix[:, :2] *= zoom
    centre = np.array([size / 2, size / 2])
    matrix[:, 2] = centre - matrix[:, :2] @ centre + rng.normal(0, 0.03 * size, 2)
    return matrix


def turn(angle: float, size: int) -> NDArray[np.float64]:
    """Rotation about the centre of a crop."""
    c, s = np.cos(angle), np.sin(angle)
    centre = np.array([size / 2, size / 2])
    linear = np.array([[c, -s], [s, c]])
    return np.concatenate([linear, (centre - linear @ centre)[:, None]], 1)


def mirrored(sample: dict[str, Any]) -> dict[str, Any]:
    """The same crop seen in a mirror: left and right points change places."""
    crop, points = sample["crop"], sample["points"]
    flipped = points[MIRROR_68] * [-1.0, 1.0] + [crop.shape[1], 0.0]
    return {**sample, "crop": np.ascontiguousarray(crop[:, ::-1]), "points": flipped}


def collate(samples: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Stack samples as the network and the loss take them."""
    crops = np.stack([s["crop"] for s in samples])
    points = np.stack([s["points"] for s in samples]).astype(np.float32)
    return {
        "crop": SPEC.prepare(crops, torch.device("cpu")),
        "points": torch.from_numpy(points),
        "interocular": torch.tensor([float(s["interocular"]) for s in samples]),
    }


def build_task(recipe: Recipe) -> LandmarkTask:
    """The task that ``featflow train`` fits."""
    return LandmarkTask(recipe)
