"""The stages of one run: what is batched how, and when pictures and crops are let go."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from featflow.flow.batch import FaceBatch
from featflow.flow.clock import Clock
from featflow.flow.node import Node
from featflow.flow.rebatch import Parcel, Rebatcher
from featflow.flow.stage import NodeStage, Result
from featflow.geometry.crop import CropRule

Release = Callable[[int], None]
"""Called with the bytes of pictures that have left a run."""


@dataclass(slots=True)
class Level:
    """Nodes that run side by side on the same batches.

    Attributes:
        stages: the nodes.
        rebatcher: cuts the stream for them; None for frame nodes, which take it as it comes.
        rules: crops that they share.
        drops_images: whether no later level needs the pictures.
        keeps_crops: crops that later levels use again.
    """

    stages: list[NodeStage]
    rebatcher: Rebatcher | None
    rules: Collection[CropRule]
    drops_images: bool
    keeps_crops: Collection[CropRule]
    clock: Clock = field(default_factory=lambda: Clock("crops"))

    def push(self, parcel: Parcel) -> list[Parcel]:
        """Batches for the nodes, with crops cut."""
        if self.rebatcher is None:
            return [parcel]
        return [self._cropped(ready) for ready in self.rebatcher.push(parcel)]

    def flush(self) -> list[Parcel]:
        """What waited for a full batch, with crops cut."""
        if self.rebatcher is None:
            return []
        return [self._cropped(ready) for ready in self.rebatcher.flush()]

    def join(self, parcel: Parcel, results: Sequence[Result], release: Release) -> Parcel:
        """The parcel with what all nodes made of it, and without what is no longer needed."""
        batch = parcel.batch
        for result in results:
            if isinstance(result, FaceBatch):
                batch = batch.with_faces(result)
            else:
                batch = batch.with_fields(result)
        if self.drops_images:
            release(parcel.closed_nbytes)
        return Parcel(batch.released(self.drops_images, self.keeps_crops), parcel.open_end)

    def _cropped(self, parcel: Parcel) -> Parcel:
        if self.rules and len(parcel.batch.faces):
            with self.clock:
                for rule in self.rules:
                    parcel.batch.crops(rule)
        return parcel


def make_levels(
    order: Sequence[Sequence[Node]],
    size_of: Callable[[Node], int],
    hold_frames: Callable[[int], int],
    hold_bytes: int,
    limits: dict[str, int],
    keep_images: bool,
) -> list[Level]:
    """Stages for one run over ordered nodes.

    Args:
        order: levels of :func:`featflow.flow.graph.order_nodes`.
        size_of: batch size of a node.
        hold_frames: frames that may wait for a batch of so many faces.
        hold_bytes: bytes of pictures that may wait before a level.
        limits: see :class:`featflow.flow.stage.NodeStage`.
        keep_images: never drop the pictures.
    """
    last_use = max((i for i, nodes in enumerate(order) if _any_sees(nodes)), default=0)
    levels = []
    for at, nodes in enumerate(order):
        size = max(size_of(node) for node in nodes)
        later = {rule for nodes in order[at + 1 :] for rule in _rules(nodes)}
        on_frames = all(node.unit == "frame" for node in nodes)
        rebatcher = None if on_frames else Rebatcher(size, hold_frames(size), hold_bytes)
        stages = [NodeStage(node, size_of(node), limits) for node in nodes]
        drops = at == last_use and not keep_images
        levels.append(Level(stages, rebatcher, _rules(nodes), drops, later))
    return levels


def _any_sees(nodes: Sequence[Node]) -> bool:
    return any(node.needs_frames for node in nodes)


def _rules(nodes: Sequence[Node]) -> list[CropRule]:
    """Distinct crop rules, in the order of their nodes."""
    rules = (node.spec.crop for node in nodes if node.unit == "face")
    return list(dict.fromkeys(rule for rule in rules if rule is not None))
