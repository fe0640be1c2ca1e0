"""Running a landmark node several times on slightly moved crops, and averaging."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.errors import OptionError
from featflow.extract.wrap import Wrapped
from featflow.flow.batch import Batch, FaceBatch
from featflow.flow.checks import checked_fields
from featflow.flow.node import Node
from featflow.geometry.crop import CropRule
from featflow.geometry.landmarks import interocular
from featflow.geometry.similarity import apply, invert, scale_of

WORST_SPREAD = 0.08
"""Spread of the feeds, in inter-ocular distances, at which confidence has fallen to 0."""


class Refeed(Wrapped):
    """A landmark node that sees each face several times; its points are the mean.

    The first feed is the plain crop. Each other one is moved by up to ``share`` of the crop's
    side in x and in y, and scaled about its centre by up to ``share``. The moves are drawn
    once, from the seed, and are the same for every face: results depend neither on the batch nor
    on the order.

    ``landmark_score`` is what the feeds agree on: 1 minus their spread (root mean square
    distance from the mean point, in inter-ocular distances) over :data:`WORST_SPREAD`, at least
    0. It takes the place of a score of the node inside.

    Args:
        node: gives ``landmarks`` from a crop.
        count: feeds beyond the first.
        seed: of the moves.
        share: largest move, as a share of the crop's side.

    Raises:
        OptionError: the node gives no landmarks or sees no crop, or a number is out of range.
    """

    def __init__(self, node: Node, count: int, seed: int = 0, share: float = 0.05) -> None:
        super().__init__(node, "refeed")
        self.rule = crop_rule_of(node)
        if count < 1 or not 0 < share < 0.5:
            raise OptionError(
                f"re-feeding needs count >= 1 and a share between 0 and 0.5, got {count}, {share}"
            )
        rng = np.random.default_rng(seed)
        self.scales = 1 + rng.uniform(-share, share, count)
        self.shifts = rng.uniform(-share, share, (count, 2))
        if "landmark_score" not in self.provides:
            self.provides = (*self.provides, "landmark_score")

    def pre_process(self, batch: Batch) -> list[Any]:
        """What the node inside makes of each feed; all faces of a feed are together."""
        return [self.node.pre_process(feed) for feed in self._feeds(batch)]

    def process(self, inputs: list[Any]) -> list[Any]:
        """The node inside, once a feed: no more faces at a time than without re-feeding."""
        return [self.node.process(feed) for feed in inputs]

    def post_process(self, batch: Batch, outputs: list[Any]) -> Mapping[str, NDArray[Any]]:
        """Means over the feeds, and how far they agree."""
        results = [
            checked_fields(self.node, feed, self.node.post_process(feed, output))
            for feed, output in zip(self._feeds(batch), outputs, strict=True)
        ]
        merged = {
            name: np.mean([result[name] for result in results], axis=0, dtype=np.float64).astype(
                results[0][name].dtype
            )
            for name in self.node.provides
        }
        points = np.stack([np.asarray(result["landmarks"], np.float64) for result in results])
        return {**merged, "landmark_score": agreement(points).astype(np.float32)}

    def _feeds(self, batch: Batch) -> Iterator[Batch]:
        yield batch
        for scale, shift in zip(self.scales, self.shifts, strict=True):
            yield batch.with_faces(_moved(batch.faces, self.rule, scale, shift))


def agreement(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Confidence 0..1 of each face, from (F, N, 68, 2) points of F feeds; NaN stays NaN."""
    middle = points.mean(0)
    spread = np.sqrt(((points - middle) ** 2).sum(-1).mean((0, 2)))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.clip(1 - spread / interocular(middle) / WORST_SPREAD, 0, 1))


def crop_rule_of(node: Node) -> CropRule:
    """The crop rule of a node that gives landmarks.

    Raises:
        OptionError: it gives none, or sees no crop.
    """
    if node.spec.crop is None or "landmarks" not in node.provides:
        raise OptionError(f"{node.id} does not give landmarks from a crop of a face")
    return node.spec.crop


def _moved(faces: FaceBatch, rule: CropRule, scale: float, shift: NDArray[np.float64]) -> FaceBatch:
    """Faces whose geometry is moved so that their crops are."""
    matrices = rule.matrices(faces)
    centre = apply(invert(matrices), np.full((1, 2), rule.size / 2))[:, 0]
    side = rule.size / scale_of(matrices)
    move = np.zeros((len(faces), 2, 3))
    move[:, 0, 0] = move[:, 1, 1] = scale
    move[:, :, 2] = (1 - scale) * centre + shift * side[:, None]
    carried: dict[str, NDArray[Any]] = {
        name: apply(move, faces.fields[name].reshape(len(faces), -1, 2)).reshape(
            faces.fields[name].shape
        )
        for name in ("box", "points5", "landmarks")
        if name in faces.fields
    }
    return faces.updated(carried)
