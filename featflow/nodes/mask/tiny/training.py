"""Training of ``mask/tiny``: hair-free masks of one source, bounds of the mask on the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from featflow.errors import TrainingError
from featflow.nodes._layers import channels_last
from featflow.nodes.mask.tiny.data import MaskedFaces, MaskSet, Sample
from featflow.nodes.mask.tiny.network import MaskNet
from featflow.nodes.mask.tiny.node import SPEC
from featflow.train.photometric import Rng
from featflow.train.recipe import Recipe, build_model, data_root
from featflow.train.task import Terms


class MaskTask:
    """Network, data and loss of ``mask/tiny``."""

    def __init__(self, recipe: Recipe) -> None:
        torch.manual_seed(recipe.seed)
        root = data_root(recipe, "bounded")
        self.batch_size = recipe.optim.batch_size
        self.bounded = float(recipe.data.get("bounded", 0.25))
        self.model: nn.Module = channels_last(build_model(recipe, MaskNet))
        self.train = MaskSet(MaskedFaces.open(root, "train", None if self.bounded else "ytf"))
        masked = self.train.labelled.masks.keys()
        self.masked = np.array(sorted(masked), np.int64)
        self.unmasked = np.setdiff1d(np.arange(len(self.train)), self.masked)
        if not len(self.masked) or (self.bounded and not len(self.unmasked)):
            raise TrainingError(
                f"{root}: {len(self.masked)} training photographs have a mask and "
                f"{len(self.unmasked)} have none; both kinds are needed"
            )
        self.val = MaskSet(MaskedFaces.open(root, "val", "ytf"))
        self.data_version = f"labels.parquet {self.train.labelled.faces.version}"

    def batches(self, seed: int) -> Iterator[Mapping[str, Tensor]]:
        """Endless augmented batches, see :func:`collate`."""
        rng = np.random.default_rng(seed)
        few = round(self.bounded * self.batch_size)
        masked = _endless(self.masked, self.batch_size - few, rng)
        bounded = _endless(self.unmasked, few, rng)
        while True:
            rows = np.concatenate([next(masked), next(bounded)])
            yield collate([self.train.augmented(int(row), rng) for row in rows])

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor], step: int) -> Terms:
        """Cross entropy of the pixels that are known, and soft Dice of masks known throughout."""
        logits, mask, known = model(batch["crop"]), batch["mask"], batch["known"]
        each = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")
        entropy = (each * known).sum() / known.sum()
        whole = known.flatten(1).all(1)
        dice = soft_dice(logits[whole].sigmoid(), mask[whole])
        return {"loss": entropy + 0.5 * dice, "entropy": entropy, "dice": dice}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Overlap with the masks on ``val`` crops placed by the labels' landmarks."""
        found = []
        for start in range(0, len(self.val), 64):
            rows = range(start, min(start + 64, len(self.val)))
            batch = collate([self.val.plain(row) for row in rows])
            inside, truth = model(batch["crop"]) > 0, batch["mask"] > 0.5
            found.append(_overlap(inside.numpy(), truth.numpy()))
        iou = np.concatenate(found)
        return {
            "faces": float(len(iou)),
            "iou": float(iou.mean()),
            "iou_median": float(np.median(iou)),
            "below_08": float((iou < 0.8).mean()),
        }


def _overlap(inside: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    from featflow.evaluation.shapes import mask_iou

    return mask_iou(truth, inside)


def soft_dice(chance: Tensor, mask: Tensor) -> Tensor:
    """1 minus the Dice coefficient of probabilities and masks (N, H, W); 0 for no faces."""
    if not len(mask):
        return chance.sum() * 0
    shared = (chance * mask).sum((1, 2))
    total = chance.sum((1, 2)) + mask.sum((1, 2))
    return (1 - (2 * shared + 1) / (total + 1)).mean()


def _endless(rows: NDArray[np.int64], count: int, rng: Rng) -> Iterator[NDArray[np.int64]]:
    """``count`` rows at a time, each row as often as the others, in random order."""
    waiting = rows[:0]
    while True:
        while len(waiting) < count:
            waiting = np.concatenate([waiting, rng.permutation(rows)])
        yield waiting[:count]
        waiting = waiting[count:]


def collate(samples: list[Sample]) -> dict[str, Tensor]:
    """Stack samples: ``crop`` (N, 3, S, S), ``mask`` and ``known`` (N, S, S)."""
    crops = np.stack([s.crop for s in samples])
    return {
        "crop": SPEC.prepare(crops, torch.device("cpu")),
        "mask": torch.from_numpy(np.stack([s.mask for s in samples]).astype(np.float32)),
        "known": torch.from_numpy(np.stack([s.known for s in samples])),
    }


def build_task(recipe: Recipe) -> MaskTask:
    """The task that ``featflow train`` fits."""
    return MaskTask(recipe)
