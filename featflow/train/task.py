"""What a node offers the trainer: a network, endless batches, a loss and a validation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

Terms = dict[str, Tensor]
"""Named scalar losses; ``"loss"`` is the one that is minimised."""


class Task(Protocol):
    """One trainable node, as its ``training.build_task(recipe)`` returns it.

    Attributes:
        model: the network whose weights are shipped.
        data_version: what the data were, short enough to be recorded with the results.
    """

    model: nn.Module
    data_version: str

    def batches(self, seed: int) -> Iterator[Mapping[str, Tensor]]:
        """Endless training batches, the same ones for the same seed."""

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor], step: int) -> Terms:
        """Loss terms of one batch."""

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Figures on data that was not trained on."""


@runtime_checkable
class Finishing(Protocol):
    """A task that has something to do once, after the last step, before weights are shipped."""

    def finish(self, model: nn.Module) -> dict[str, float]:
        """Change the averaged weights in place; what was found goes into the record."""
