"""Training of ``identity/tiny``: the teacher's vectors, and people apart by an angle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featflow.datasets.labelled import LabelledFaces
from featflow.errors import RecipeError, TrainingError
from featflow.evaluation.pairs import draw_pairs
from featflow.evaluation.verification import pair_similarity, verify
from featflow.nodes._layers import channels_last
from featflow.nodes.identity.tiny.data import (
    NOBODY,
    AlignedFaces,
    Basis,
    held_out_people,
    labelled_rows,
    people,
)
from featflow.nodes.identity.tiny.network import DIMENSIONS, IdentityNet, both_ways
from featflow.nodes.identity.tiny.node import CROP, SPEC
from featflow.train.losses import ArcFace
from featflow.train.recipe import Recipe, build_model, data_root
from featflow.train.task import Terms

MARGIN, SCALE = 0.3, 32.0
CPU = torch.device("cpu")


class IdentityTask:
    """Network, data and loss of ``identity/tiny``.

    Two terms of equal weight: one less the cosine with the teacher's vector of the same
    photograph, and the angular margin loss (ArcFace) with each person's centre held at the mean
    of the teacher's vectors (MarginDistillation, Svitov and Alyamkin 2020, arXiv 2003.02586), so
    that both pull into one space. Faces without a name, and those whose name must be wrong, only
    follow the teacher.
    """

    def __init__(self, recipe: Recipe) -> None:
        torch.manual_seed(recipe.seed)
        root = data_root(recipe, "develop")
        self.batch_size = recipe.optim.batch_size
        self.model: nn.Module = channels_last(build_model(recipe, IdentityNet, CROP.size))
        faces, vectors = labelled_rows(root, "train")
        other, other_vectors = labelled_rows(root, "val")
        if _flag(recipe, "develop"):
            out = held_out_people(faces)
            other, other_vectors = _rows(faces, out), vectors[out]
            faces, vectors = _rows(faces, ~out), vectors[~out]
        if len(faces) < self.batch_size:
            raise TrainingError(
                f"{root}: {len(faces)} training photographs do not fill a batch of "
                f"{self.batch_size}"
            )
        basis = Basis.of(vectors)
        self.targets = basis.project(vectors)
        self.person, centres = people(faces.table["identity"].to_list(), self.targets)
        self.margin = ArcFace(DIMENSIONS, len(centres), MARGIN, SCALE).requires_grad_(False)
        self.margin.centres.copy_(torch.from_numpy(centres))
        self.train = AlignedFaces(faces)
        self.val = AlignedFaces(other)
        self.val_names = other.table["identity"].fill_null("").to_numpy()
        self.val_targets = basis.project(other_vectors)
        self.data_version = f"labels.parquet {faces.version}"

    def batches(self, seed: int) -> Iterator[Mapping[str, Tensor]]:
        """Endless augmented crops (N, 3, S, S) with teacher's vectors (N, 128) and people (N,)."""
        rng = np.random.default_rng(seed)
        while True:
            order = rng.permutation(len(self.train))
            for start in range(0, len(order) - self.batch_size + 1, self.batch_size):
                rows = order[start : start + self.batch_size]
                crops = np.stack([self.train.augmented(int(row), rng) for row in rows])
                yield {
                    "crop": SPEC.prepare(crops, CPU),
                    "target": torch.from_numpy(self.targets[rows]),
                    "person": torch.from_numpy(self.person[rows]),
                }

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor], step: int) -> Terms:
        """Distance to the teacher, and the margin between people in units of its scale."""
        vectors = model(batch["crop"])
        teacher = (1 - (vectors * batch["target"]).sum(1)).mean()
        named = batch["person"] != NOBODY
        apart = self.margin(vectors[named], batch["person"][named]) / SCALE
        return {"loss": teacher + apart, "teacher": teacher, "apart": apart}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Likeness to the teacher and verification on crops placed by the labelled landmarks."""
        vectors = self.embed(model)
        one, two, same = draw_pairs(self.val_names, most=10, seed=0)
        found = verify(pair_similarity(vectors[one], vectors[two]), same)
        cosine = (vectors * self.val_targets).sum(1)
        return {"auc": found.auc, "accuracy": found.accuracy, "cosine": float(cosine.mean())}

    def embed(self, model: nn.Module) -> NDArray[np.float32]:
        """Vectors (N, 128) of the photographs to validate on."""
        found = []
        for start in range(0, len(self.val), 64):
            rows = range(start, min(start + 64, len(self.val)))
            crops = np.stack([self.val.plain(row) for row in rows])
            found.append(both_ways(model, SPEC.prepare(crops, CPU)).numpy())
        return np.concatenate(found)


def _flag(recipe: Recipe, name: str) -> bool:
    value = recipe.data.get(name, False)
    if not isinstance(value, bool):
        raise RecipeError(f"{recipe.path}: [data] {name} must be true or false, got {value!r}")
    return value


def _rows(faces: LabelledFaces, chosen: NDArray[np.bool_]) -> LabelledFaces:
    return LabelledFaces(faces.root, faces.table.filter(chosen))


def build_task(recipe: Recipe) -> IdentityTask:
    """The task that ``featflow train`` fits."""
    return IdentityTask(recipe)
