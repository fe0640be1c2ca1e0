"""Training of ``gaze/tiny``: eyes placed by the landmark node, directions of the teachers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from featflow.datasets.labelled import LabelledFaces
from featflow.errors import TrainingError
from featflow.evaluation.gaze import gaze_figures
from featflow.nodes._layers import channels_last
from featflow.nodes.gaze.tiny.data import EyeSet, Sample, predicted_landmarks
from featflow.nodes.gaze.tiny.network import HEIGHT, GazeNet
from featflow.nodes.gaze.tiny.node import SPEC
from featflow.train.recipe import Recipe, build_model, data_root
from featflow.train.task import Terms

GOOD_ERROR = np.radians(8.0)
"""A gaze counts as found where it is this close to the teachers'."""

_LEAST_WEIGHT = 0.05


class GazeTask:
    """Network, data and loss of ``gaze/tiny``."""

    def __init__(self, recipe: Recipe) -> None:
        torch.manual_seed(recipe.seed)
        root = data_root(recipe, "placings")
        placings = int(recipe.data.get("placings", 1))
        self.batch_size = recipe.optim.batch_size
        self.model: nn.Module = channels_last(build_model(recipe, GazeNet))
        self.train = self._eyes(LabelledFaces.open(root, "train"), placings, recipe.seed)
        if len(self.train) < self.batch_size:
            raise TrainingError(
                f"{root}: {len(self.train)} training photographs do not fill a batch of "
                f"{self.batch_size}"
            )
        self.val = self._eyes(LabelledFaces.open(root, "val"), min(placings, 1), None)
        self.data_version = f"labels.parquet {self.train.faces.version}"

    @staticmethod
    def _eyes(faces: LabelledFaces, placings: int, seed: int | None) -> EyeSet:
        """Photographs with ``placings`` sets of the landmark node's points; the labels' if 0.

        The first set is placed by the detector's points as they are, the others by moved ones.
        """
        images = faces.read_all()
        rngs = [None, *(np.random.default_rng([seed or 0, n]) for n in range(1, placings))]
        sets = [predicted_landmarks(faces, images, rng) for rng in rngs[:placings]]
        return EyeSet(faces, images, sets or [faces.landmarks])

    def batches(self, seed: int) -> Iterator[Mapping[str, Tensor]]:
        """Endless augmented batches, see :func:`collate`."""
        rng = np.random.default_rng(seed)
        while True:
            order = rng.permutation(len(self.train))
            for start in range(0, len(order) - self.batch_size + 1, self.batch_size):
                rows = order[start : start + self.batch_size]
                yield collate([self.train.augmented(int(row), rng) for row in rows])

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor], step: int) -> Terms:
        """Distance of the directions, of the irises, and how sure the network should have been."""
        said = model(batch["right"], batch["left"], batch["points"])
        away = (vectors(said.angles) - vectors(batch["gaze"])).norm(dim=-1)
        gaze = (away * batch["weight"]).sum() / batch["weight"].sum()
        seen = batch["iris"].isfinite()
        iris = F.smooth_l1_loss(said.iris[seen] / HEIGHT, batch["iris"][seen] / HEIGHT, beta=0.03)
        found = F.binary_cross_entropy_with_logits(said.logit, (away.detach() < GOOD_ERROR).float())
        return {
            "loss": gaze + 2.0 * iris + 0.02 * found,
            "gaze_deg": torch.rad2deg(gaze.detach()),
            "iris": iris,
            "found": found,
        }

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Figures on ``val`` from the landmark node's points."""
        angles = np.concatenate([self._val_angles(model, rows) for rows in self._val_rows()])
        head, confidence = self.val.upright_head, self.val.faces.gaze_confidence
        sure = confidence > np.median(confidence)
        truth = np.concatenate([self.val.placings[0].gaze, head], 1)
        return gaze_figures(truth[sure], np.concatenate([angles, head], 1)[sure])

    def _val_rows(self) -> list[range]:
        count = len(self.val)
        return [range(start, min(start + 64, count)) for start in range(0, count, 64)]

    def _val_angles(self, model: nn.Module, rows: range) -> NDArray[np.float64]:
        batch = collate([self.val.plain(row) for row in rows])
        said = model(batch["right"], batch["left"], batch["points"])
        return np.asarray(said.angles, np.float64)


def vectors(angles: Tensor) -> Tensor:
    """Unit vectors (N, 3) of pitch and yaw (N, 2), x to the image right, y up, z to the camera."""
    pitch, yaw = angles.unbind(-1)
    return torch.stack([-yaw.sin() * pitch.cos(), pitch.sin(), yaw.cos() * pitch.cos()], -1)


def collate(samples: list[Sample]) -> dict[str, Tensor]:
    """Stack samples as the network and the loss take them."""
    cpu = torch.device("cpu")
    eyes = {
        side: SPEC.prepare(np.stack([getattr(s, side) for s in samples]), cpu)
        for side in ("right", "left")
    }
    rest: dict[str, Any] = {
        "points": np.stack([s.points for s in samples]),
        "gaze": np.stack([s.gaze for s in samples]),
        "iris": np.stack([s.iris for s in samples]),
        "weight": np.array([max(s.weight, _LEAST_WEIGHT) for s in samples]),
    }
    return {**eyes, **{k: torch.from_numpy(v.astype(np.float32)) for k, v in rest.items()}}


def build_task(recipe: Recipe) -> GazeTask:
    """The task that ``featflow train`` fits."""
    return GazeTask(recipe)
