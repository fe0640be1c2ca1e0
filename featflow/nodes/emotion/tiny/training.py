"""Training of ``emotion/tiny``: photographs with noisy labels, and FER+ pictures with votes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from featflow.datasets.expressions import FaceVotes, emotion_labels, majority, teacher_emotions
from featflow.datasets.labelled import LabelledFaces
from featflow.errors import TrainingError
from featflow.evaluation.classes import Confusion, calibration_error
from featflow.fex.schema import EMOTIONS
from featflow.nodes._layers import channels_last
from featflow.nodes.emotion.tiny.calibration import fit_scale
from featflow.nodes.emotion.tiny.faces import (
    NOTHING_SEEN,
    Expressions,
    find_landmarks,
    held_out,
    matrices_of,
    place_crops,
    without_a_face,
)
from featflow.nodes.emotion.tiny.network import EmotionNet, both_ways
from featflow.nodes.emotion.tiny.node import CROP, SPEC
from featflow.nodes.emotion.tiny.targets import photo_targets, vote_targets
from featflow.train.export import package_folder
from featflow.train.photometric import Rng
from featflow.train.recipe import Recipe, build_model, data_root
from featflow.train.task import Terms

PHOTOGRAPHS = 0.28
"""Part of each batch that are photographs; the others are FER+ pictures."""

STRONG_SUPPORT = 15
"""Labels that a class needs for its recall to enter the balanced accuracy."""


class EmotionTask:
    """Network, data and loss of ``emotion/tiny``."""

    def __init__(self, recipe: Recipe) -> None:
        torch.manual_seed(recipe.seed)
        root = data_root(recipe, "from_landmarks")
        self.batch_size = recipe.optim.batch_size
        self.model: nn.Module = channels_last(build_model(recipe, EmotionNet, CROP.size))
        if recipe.data.get("from_landmarks", True):
            take_trunk(self.model)
        photographs, votes = LabelledFaces.open(root, "train"), FaceVotes.open(root, "train")
        apart = held_out(photographs.table)
        self.labels = emotion_labels(photographs.table)
        self.photographs, self.calibration = _split(photographs, self.labels, apart)
        self.calibration_labels = self.labels[apart & (self.labels >= 0)]
        self.pictures = _voted(votes)
        self.root = root
        self.ignorance = self.photographs.shares
        prior = PHOTOGRAPHS * self.photographs.shares + (1 - PHOTOGRAPHS) * self.pictures.shares
        self.model.prior.copy_(torch.from_numpy(prior).float())  # type: ignore[operator]
        self.data_version = f"labels.parquet {photographs.version}, ferplus.parquet {votes.version}"

    def batches(self, seed: int) -> Iterator[Mapping[str, Tensor]]:
        """Endless augmented crops (N, 1, S, S) with targets (N, 7) and weights (N,)."""
        rng = np.random.default_rng(seed)
        photographs = round(PHOTOGRAPHS * self.batch_size)
        one = _rows(len(self.photographs), photographs, rng)
        two = _rows(len(self.pictures), self.batch_size - photographs, rng)
        while True:
            samples = [self._sample(self.photographs, row, rng) for row in next(one)]
            samples += [self._sample(self.pictures, row, rng) for row in next(two)]
            yield collate(samples)

    def _sample(self, source: Expressions, row: int, rng: Rng) -> dict[str, Any]:
        crop = source.augmented(row, rng)
        if rng.random() < NOTHING_SEEN:
            return {"crop": without_a_face(crop, rng), "target": self.ignorance, "weight": 1.0}
        return {"crop": crop, "target": source.targets[row], "weight": source.weights[row]}

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor], step: int) -> Terms:
        """Cross entropy against the targets, weighted; its excess over the least possible."""
        target, weight = batch["target"], batch["weight"]
        each = -(target * F.log_softmax(model(batch["crop"]), -1)).sum(-1)
        floor = -torch.xlogy(target, target).sum(-1)
        loss = (weight * each).sum() / weight.sum()
        return {"loss": loss, "above_entropy": loss - (weight * floor).sum() / weight.sum()}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Figures on ``val`` crops placed by the table's landmarks, FER+ by our own."""
        faces, votes = LabelledFaces.open(self.root, "val"), FaceVotes.open(self.root, "val")
        labels, winners = emotion_labels(faces.table), majority(votes.votes)
        labelled, _ = _split(faces, labels, np.zeros(len(faces), bool))
        found = {
            **figures("photo", logits_of(model, labelled)[labels >= 0], labels[labels >= 0]),
            **figures(
                "votes", logits_of(model, _voted(votes))[winners >= 0], winners[winners >= 0]
            ),
        }
        return {name: round(value, 4) for name, value in found.items()}

    def finish(self, model: nn.Module) -> dict[str, float]:
        """Calibrate the last layer to the human labels of the people who were held out."""
        logits = logits_of(model, self.calibration).astype(np.float64)
        scale = fit_scale(logits, self.calibration_labels)
        classes = model.classes
        assert isinstance(classes, nn.Linear)  # noqa: S101 - for the type checker
        classes.weight.mul_(scale)
        classes.bias.mul_(scale)
        return {"calibration_scale": scale}


def take_trunk(model: nn.Module) -> None:
    """Copy the layers that ``landmark/tiny`` has too; on grey pictures they give the same.

    Raises:
        TrainingError: the networks share no layer.
    """
    from safetensors.torch import load_file

    stored = load_file(package_folder("landmark/tiny") / "weights.safetensors")
    first = "stem.0.0.weight"
    stored[first] = stored[first].float().sum(1, keepdim=True)
    own = model.state_dict()
    shared = {k: v for k, v in stored.items() if k in own and v.shape == own[k].shape}
    if first not in shared:
        raise TrainingError(
            "emotion/tiny: [model] differs from landmark/tiny; from_landmarks=false"
        )
    model.load_state_dict({**own, **shared})


def _split(
    faces: LabelledFaces, labels: NDArray[np.int64], apart: NDArray[np.bool_]
) -> tuple[Expressions, Expressions]:
    """Photographs to train on, and labelled ones that are held out."""
    targets, weights = photo_targets(
        labels, *(teacher_emotions(faces.table, p) for p in ("emotion_", "emotion_stacked_"))
    )
    images, matrices = faces.read_all(), matrices_of(faces.landmarks)

    def part(keep: NDArray[np.bool_]) -> Expressions:
        rows = np.flatnonzero(keep)
        kept = [images[row] for row in rows]
        return Expressions(kept, matrices[rows], targets[rows], weights[rows])

    return part(~apart), part(apart & (labels >= 0))


def _voted(votes: FaceVotes) -> Expressions:
    images = votes.read_all()
    return Expressions(
        images, place_crops(images, find_landmarks(images)), *vote_targets(votes.votes)
    )


def _rows(count: int, wanted: int, rng: Rng) -> Iterator[NDArray[np.int64]]:
    """Endless rows, ``wanted`` at a time, each row once before any comes again."""
    left = np.zeros(0, np.int64)
    while True:
        while len(left) < wanted:
            left = np.concatenate([left, rng.permutation(count)])
        yield left[:wanted]
        left = left[wanted:]


def collate(samples: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Stack samples as the network and the loss take them."""
    crops = np.stack([s["crop"] for s in samples])
    targets = np.stack([s["target"] for s in samples]).astype(np.float32)
    return {
        "crop": SPEC.prepare(crops, torch.device("cpu")),
        "target": torch.from_numpy(targets),
        "weight": torch.tensor([float(s["weight"]) for s in samples]),
    }


def logits_of(model: nn.Module, faces: Expressions) -> NDArray[np.float32]:
    """Logits (N, 7) of crops as the node cuts and reads them."""
    parts = [np.zeros((0, len(EMOTIONS)), np.float32)]
    for start in range(0, len(faces), 64):
        rows = range(start, min(start + 64, len(faces)))
        crops = np.stack([faces.plain(row) for row in rows])
        parts.append(both_ways(model, SPEC.prepare(crops, torch.device("cpu"))).numpy())
    return np.concatenate(parts)


def figures(name: str, logits: NDArray[np.float32], truth: NDArray[np.int64]) -> dict[str, float]:
    """Accuracy, balanced accuracy and calibration error, names beginning with ``name``."""
    if not len(truth):
        return {}
    confusion = Confusion.of(truth, logits.argmax(1), range(len(EMOTIONS)))
    probabilities = torch.from_numpy(logits).double().softmax(1).numpy()
    return {
        f"{name}_accuracy": confusion.accuracy,
        f"{name}_balanced": confusion.balanced_accuracy(STRONG_SUPPORT),
        f"{name}_calibration_error": calibration_error(probabilities, truth),
    }


def build_task(recipe: Recipe) -> EmotionTask:
    """The task that ``featflow train`` fits."""
    return EmotionTask(recipe)
