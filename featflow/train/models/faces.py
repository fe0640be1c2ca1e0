"""Data and losses of face models: augmented batches by identity, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featflow.datasets.facesets import FaceSets
from featflow.errors import OptionError
from featflow.train.augment import AugmentOptions, ImageAugmentation, NearLandmarks, Share
from featflow.train.losses.collator import BatchMasks, LossCollator
from featflow.train.task import Terms

MASKS = ("face", "eyes", "mouth")
"""Masks of a training batch, those of :class:`BatchMasks`."""

Batch = dict[str, Any]


class AugmentFaces:
    """Turns crops into what a face model sees and shall give.

    A batch by identity of ``crop``, ``mask`` and ``points`` becomes one of ``input`` and
    ``target`` (N, 3, S, S) floats 0..1, and the masks by name, (N, 1, S, S).

    Args:
        sets: the faces; their masks are named ``mask_names``.
        options: what is changed at random.
        to_landmarks: warp towards landmarks of the next identity's nearest faces, in place of a
            random grid.
        choices: how many nearest faces to choose from.
        share: which faces of a batch this process is given, where several train together.

    Raises:
        OptionError: faces have no landmarks and ``to_landmarks`` needs them.
    """

    def __init__(
        self,
        sets: FaceSets,
        options: AugmentOptions,
        *,
        to_landmarks: bool = False,
        choices: int = 10,
        share: Share | None = None,
    ) -> None:
        self.share = share or Share()
        self.augment = ImageAugmentation(options, share=self.share)
        self.names = {label: each.mask_names for label, each in sets.sets.items()}
        self.rows = {label: each.rows for label, each in sets.sets.items()}
        self.near = _matchers(sets, choices) if to_landmarks else {}

    def __call__(self, batch: Batch, chance: torch.Generator) -> Batch:
        """The augmented batch."""
        self.augment.generator = chance
        return {label: self._one(label, sample, chance) for label, sample in batch.items()}

    def _one(self, label: str, sample: Mapping[str, Tensor], chance: torch.Generator) -> Batch:
        near = None
        if label in self.near:
            rows = np.searchsorted(self.rows[label], sample["row"].numpy())
            near = self.near[label].draw(torch.from_numpy(rows), chance, self.share)
        made = self.augment(sample["crop"], sample.get("mask"), sample.get("points"), near)
        found: Batch = {"input": made.inputs, "target": made.targets}
        for at, name in enumerate(self.names[label]):
            if made.masks is not None:
                found[name] = made.masks[:, at : at + 1]
        return found


def _matchers(sets: FaceSets, choices: int) -> dict[str, NearLandmarks]:
    points = {label: each.points for label, each in sets.sets.items()}
    if any(p is None for p in points.values()) or len(points) < 2:
        raise OptionError("warping to landmarks needs two or more identities with landmarks")
    labels = list(points)
    known = {label: torch.from_numpy(np.asarray(p)) for label, p in points.items()}
    following = dict(zip(labels, [*labels[1:], labels[0]], strict=True))
    return {
        label: NearLandmarks(known[label], known[following[label]], choices) for label in labels
    }


class FaceLosses:
    """Losses of a face model, as the trainer takes them.

    A model may draw each face at several sizes, as a list of pictures; each is compared with the
    target made as small by means of areas.

    Args:
        collator: weighs them.
        names: mask names of the data to the parts of :class:`BatchMasks`; a part may be drawn by
            any mask of the table, such as ``{"face": "components"}``.
    """

    def __init__(self, collator: LossCollator, names: Mapping[str, str] | None = None) -> None:
        self.collator = collator
        self.names = dict(names or {})

    def __call__(self, model: nn.Module, batch: Mapping[str, Any], step: int) -> Terms:
        """``loss``, and each weighted loss as ``<identity>/<function>``."""
        drawn = model({label: sides["input"] for label, sides in batch.items()})
        made = {label: _outputs(face) for label, face in drawn.faces.items()}
        # Losses run in full precision: some square small differences of large sums.
        with torch.autocast(next(iter(made.values()))[0].device.type, enabled=False):
            found = self.collator(
                {label: [each.float() for each in outputs] for label, outputs in made.items()},
                {
                    label: _fitted(batch[label]["target"], outputs)
                    for label, outputs in made.items()
                },
                {label: self._masks(sides) for label, sides in batch.items()},
                {label: mask.float() for label, mask in drawn.masks.items()},
            )
        terms = {"loss": found.total}
        for label, values in found.weighted.items():
            terms |= {f"{label}/{name}": value.mean() for name, value in values.items()}
            terms |= {
                f"{label}/{name} unweighted": value.mean()
                for name, value in found.unweighted[label].items()
                if self.collator.weights[name] != 1
            }
        for label, value in (found.mask or {}).items():
            terms[f"{label}/mask"] = value.mean()
        return terms

    def _masks(self, sides: Mapping[str, Tensor]) -> BatchMasks:
        return BatchMasks(**{part: sides.get(self.names.get(part, part)) for part in MASKS})


def _outputs(face: Tensor | Sequence[Tensor]) -> list[Tensor]:
    return [face] if isinstance(face, Tensor) else list(face)


def _fitted(target: Tensor, outputs: Sequence[Tensor]) -> list[Tensor]:
    """The target (N, 3, S, S) at the side of each output."""
    return [
        target if each.shape[-1] == target.shape[-1] else _area(target, each.shape[-2:])
        for each in outputs
    ]


def _area(pictures: Tensor, size: Sequence[int]) -> Tensor:
    """Pictures (N, C, H, W) at another size, each pixel the mean of the area that it covers."""
    return F.interpolate(pictures, size=tuple(size), mode="area")
