"""A node around one network whose weights lie beside its code."""

from __future__ import annotations

import sys
from abc import abstractmethod
from pathlib import Path

import torch
from torch import nn

from featflow.flow.node import Node
from featflow.nodes._cards import CARD_NAME, read_card
from featflow.nodes._layers import for_inference
from featflow.nodes._weights import load_weights


class NetworkNode(Node):
    """Base of nodes that ship ``weights.safetensors`` and ``card.toml`` in their folder."""

    def __init__(self) -> None:
        super().__init__()
        self._model: nn.Module | None = None

    @abstractmethod
    def build(self) -> nn.Module:
        """The network as it was trained, weights not yet read."""

    @classmethod
    def folder(cls) -> Path:
        """Where the node's card and weights lie."""
        return Path(str(sys.modules[cls.__module__].__file__)).parent

    @property
    def model(self) -> nn.Module:
        """The network, ready to run; read on first use."""
        if self._model is None:
            self.load(self.device)
        assert self._model is not None  # noqa: S101 - for the type checker
        return self._model

    def unload(self) -> None:
        """Let go of the network."""
        super().unload()
        self._model = None

    def weights_hash(self) -> str:
        """SHA-256 that the card gives, which :meth:`load` checks the file against."""
        return read_card(self.folder() / CARD_NAME).sha256

    def load(self, device: torch.device | str = "cpu") -> None:
        """Read the weights once, fold batch norms and move to ``device``."""
        wanted = torch.device(device)
        if self._model is None:
            model = self.build()
            load_weights(
                model, self.folder() / "weights.safetensors", read_card(self.folder() / CARD_NAME)
            )
            self._model = for_inference(model, wanted)
        elif wanted != self.device:
            self._model = self._model.to(wanted)
        super().load(wanted)
