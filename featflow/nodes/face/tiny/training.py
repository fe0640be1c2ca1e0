"""Training of ``face/tiny`` on composed scenes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from featflow.datasets import detection
from featflow.datasets.labelled import LabelledFaces
from featflow.evaluation.detection import match_detections
from featflow.nodes._layers import channels_last
from featflow.nodes.face.tiny.calibration import (
    bare,
    best_threshold,
    detect_in,
    move_scores,
    padded,
)
from featflow.nodes.face.tiny.losses import Targets, assign, detection_loss
from featflow.nodes.face.tiny.network import FaceNet, cell_grid, decode
from featflow.nodes.face.tiny.node import SPEC
from featflow.train.recipe import Recipe, build_model, data_root
from featflow.train.scenes import Photo, SceneComposer
from featflow.train.task import Terms

CANVASES = ((256, 256), (320, 320), (320, 320), (448, 448), (640, 640))
"""Sides of the training canvases, drawn at random; the large ones hold the large faces."""


CALIBRATION_PHOTOS = 700

PRECISION_FIRST = 0.7
"""A false face in a table costs its reader more than a missed one."""

DATA_OPTIONS = ("hard", "negatives", "crowd_size", "decoys")
"""Keys of ``[data]`` besides ``root``: fields of :class:`SceneComposer`."""


class FaceTask:
    """Network, data and loss of ``face/tiny``."""

    def __init__(self, recipe: Recipe) -> None:
        torch.manual_seed(recipe.seed)
        root = data_root(recipe, *DATA_OPTIONS)
        self.pixels = recipe.optim.batch_size * 320 * 320
        self.model: nn.Module = channels_last(build_model(recipe, FaceNet))
        options = {name: recipe.data[name] for name in DATA_OPTIONS if name in recipe.data}
        self.composer = replace(composer(root, "train"), **options)
        self.val = composer(root, "val", held_out=True)
        self.data_version = f"labels.parquet {LabelledFaces.open(root).version}"

    def batches(self, seed: int) -> Iterator[Mapping[str, Tensor]]:
        """Endless scenes; every batch has about the same number of pixels."""
        rng = np.random.default_rng(seed)
        while True:
            height, width = CANVASES[int(rng.integers(len(CANVASES)))]
            count = max(2, self.pixels // (height * width))
            yield collate([self.composer.draw(rng, height, width) for _ in range(count)])

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor], step: int) -> Terms:
        """Terms of :func:`detection_loss`."""
        outputs = model(batch["image"])
        cells = grid(*batch["image"].shape[2:])
        boxes, points = decode(outputs, cells)
        targets = Targets(
            batch["positive"], batch["ignored"], batch["face"], batch["boxes"], batch["points"]
        )
        return detection_loss(outputs[..., 0], boxes, points, targets)

    def finish(self, model: nn.Module) -> dict[str, float]:
        """Move the scores so that 0.5 cuts best on pictures of the training split as they are.

        Composed scenes hold far more faces a square inch than photographs do, and would put the
        cut too low.
        """
        rng = np.random.default_rng(11)
        context = self.composer.context
        chosen = rng.permutation(len(context))[:CALIBRATION_PHOTOS]
        photos = [context[int(row)] for row in chosen] + [bare(i) for i in self.composer.empty]
        photos = [padded(photo) for photo in photos]
        thresholds = []
        # Twice, because which scores count as doubtful moves with them.
        for _ in range(2):
            thresholds.append(best_threshold(model, photos, beta=PRECISION_FIRST))
            move_scores(cast("FaceNet", model), thresholds[-1])
        return {"threshold_before": thresholds[0], "threshold_then": thresholds[1]}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Recall and precision at a score of 0.5 on composed scenes of unseen people."""
        rng = np.random.default_rng(7)
        found = missed = false = 0
        for _ in range(60):
            scene = self.val.pasted(rng, 512, 640, sizes=(16.0, 200.0)).photo()
            boxes, _ = detect_in(model, scene)
            hits = match_detections(boxes, scene.boxes, scene.certain, iou_threshold=0.5)
            found, missed, false = found + hits.hits, missed + hits.misses, false + hits.false
        return {
            "recall": found / max(1, found + missed),
            "precision": found / max(1, found + false),
            "faces": float(found + missed),
        }


def composer(root: str, split: str, held_out: bool = False) -> SceneComposer:
    """Scenes of one split; ``held_out`` takes backgrounds that training never sees."""
    return SceneComposer(
        context=detection.head_and_shoulders(root, split) + detection.scenes(root, split),
        portraits=detection.portraits(root, split),
        empty=detection.empty_pictures(root, held_out),
    )


@lru_cache(maxsize=8)
def grid(height: int, width: int) -> Tensor:
    """Cells of a canvas."""
    return cell_grid(height, width)


def collate(scenes: list[Photo]) -> dict[str, Tensor]:
    """Stack scenes and assign their faces to cells (in the loader's thread)."""
    images = np.stack([scene.image for scene in scenes])
    cells = grid(*images.shape[1:3])
    rows: list[tuple[Tensor, Tensor, Tensor]] = []
    first = 0
    for scene in scenes:
        faces = torch.from_numpy(scene.boxes.astype(np.float32))
        positive, ignored, face = assign(cells, faces, torch.from_numpy(scene.certain))
        rows.append((positive, ignored, face + first))
        first += len(faces)
    boxes = np.concatenate([s.boxes for s in scenes]).astype(np.float32)
    points = np.concatenate([s.points5 for s in scenes]).astype(np.float32)
    return {
        "image": SPEC.prepare(images, torch.device("cpu")),
        "positive": torch.stack([r[0] for r in rows]),
        "ignored": torch.stack([r[1] for r in rows]),
        "face": torch.stack([r[2] for r in rows]),
        "boxes": torch.from_numpy(boxes),
        "points": torch.from_numpy(points),
    }


def build_task(recipe: Recipe) -> FaceTask:
    """The task that ``featflow train`` fits."""
    return FaceTask(recipe)
