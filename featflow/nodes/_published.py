"""Nodes around the published networks, whose weights featflow looks for and does not ship."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Set
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featflow.errors import OptionError, WeightsError
from featflow.flow.batch import Batch
from featflow.geometry.similarity import apply, invert
from featflow.hub.checkpoint import read_checkpoint
from featflow.hub.hashes import sha256_of
from featflow.hub.licence import tell_licence
from featflow.hub.lookup import Weights, obtain
from featflow.nodes._cards import CARD_NAME, Card, read_card
from featflow.nodes._folding import fold_traced
from featflow.nodes._layers import for_inference
from featflow.nodes._network import NetworkNode
from featflow.nodes._weights import fitting_tensors
from featflow.nodes.networks import network
from featflow.nodes.networks.decode import crop_points
from featflow.nodes.networks.preprocessing import NetworkInput, Preprocessing, network_input


class PublishedNode(NetworkNode):
    """Base of nodes whose weights are published by others.

    Args:
        weights: a weight file, or a folder that holds the files which the card names; looked
            for and downloaded where None (``docs/weights.md``).
        preprocessing: ``"trained"`` does what the network was trained for, ``"reference"`` what
            py-feat 2.0.3 does; the card says what differs.

    Attributes:
        layout: name of the network for :func:`featflow.nodes.networks.network`.
    """

    layout: ClassVar[str]

    def __init__(
        self, weights: Weights | None = None, preprocessing: Preprocessing = "trained"
    ) -> None:
        super().__init__()
        if preprocessing not in ("trained", "reference"):
            raise OptionError(
                f"{self.id}: preprocessing is 'trained' or 'reference', got {preprocessing!r}"
            )
        self.weights = weights
        self.preprocessing: Preprocessing = preprocessing
        self._digest = ""

    def build(self) -> nn.Module:
        """The bare network."""
        return network(self.layout)

    def card(self) -> Card:
        """The model card beside the node's code."""
        return read_card(self.folder() / CARD_NAME)

    def load(self, device: torch.device | str = "cpu") -> None:
        """Find and read the weights once and move to ``device``.

        Raises:
            WeightsError: they are not here and cannot be fetched, or are not this network's.
        """
        wanted = torch.device(device)
        if self._model is None:
            card = self.card()
            weights, *companions = obtain(card, self.weights)
            model = self._filled(weights).eval()
            read = {tensor.data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
            self.configure(companions)
            tell_licence(card.id, card.licence, card.commercial_use)
            self._digest = sha256_of(weights)
            folded = for_inference(fold_traced(model), wanted)
            self._model = self.finished(owning(folded, read))
        super().load(wanted)

    def unload(self) -> None:
        """Let go of the network."""
        super().unload()
        self._digest = ""

    def finished(self, model: nn.Module) -> nn.Module:
        """The network as it will run, given folded and on its device."""
        return model

    def configure(self, companions: list[Path]) -> None:
        """Read the files that belong to the weights, in the order of the card."""

    def weights_hash(self) -> str:
        """SHA-256 of the weight file that is loaded; empty before."""
        return self._digest

    def _filled(self, path: Path) -> nn.Module:
        # On the meta device no random weights are drawn that would be thrown away.
        with torch.device("meta"):
            model = self.build()
        stored = completed(model, read_checkpoint(path))
        model.load_state_dict(fitting_tensors(model, stored, path), assign=True)
        return model


class CropNode(PublishedNode):
    """Base of published networks that see one crop a face.

    Args:
        weights, preprocessing: see :class:`PublishedNode`.
        bf16: compute in bfloat16, which is faster where the device has it; values move in
            their third digit, as ``docs/networks.md`` says.

    Attributes:
        takes_bf16: whether the node's values bear that.
    """

    unit = "face"
    batch_size = 16
    takes_bf16: ClassVar[bool] = True

    def __init__(
        self,
        weights: Weights | None = None,
        preprocessing: Preprocessing = "trained",
        bf16: bool = False,
    ) -> None:
        super().__init__(weights, preprocessing)
        if bf16 and not self.takes_bf16:
            raise OptionError(f"{self.id}: bf16 would move points by a tenth of a pixel and more")
        self.dtype = torch.bfloat16 if bf16 else torch.float32
        self.input: NetworkInput = network_input(self.layout, preprocessing)
        self.spec = self.input.spec
        crop = self.spec.crop
        if crop is None:
            raise OptionError(f"{self.id}: its network sees no crops")
        self.crop = crop

    def pre_process(self, batch: Batch) -> NDArray[np.uint8]:
        """Crops (N, S, S, 3) uint8 RGB."""
        return batch.crops(self.crop)

    def process(self, inputs: NDArray[np.uint8]) -> Any:
        """What the network says of each face."""
        return on_cpu(self.model(self.input.prepare(inputs, self.device).to(self.dtype)))

    def finished(self, model: nn.Module) -> nn.Module:
        """The network in the precision that was asked for."""
        return model.to(self.dtype)

    @abstractmethod
    def post_process(self, batch: Batch, outputs: Any) -> Mapping[str, NDArray[Any]]:
        """Turn outputs into one array a provided field."""


class LandmarkNode(CropNode):
    """Base of the published networks that give 68 points of a crop."""

    kind = "landmark"
    provides = ("landmarks",)
    takes_bf16 = False

    def post_process(self, batch: Batch, outputs: Any) -> Mapping[str, NDArray[Any]]:
        """Points in original pixels, (N, 68, 2)."""
        points = outputs[0] if isinstance(outputs, tuple) else outputs
        back = invert(self.crop.matrices(batch.faces))
        landmarks = apply(back, crop_points(points.numpy(), self.crop.size))
        return {"landmarks": landmarks.astype(np.float32)}


class EmbeddingNode(CropNode):
    """Base of the published networks that describe who someone is."""

    kind = "identity"
    provides = ("embedding",)
    shapes = MappingProxyType({"embedding": (512,)})

    def post_process(self, batch: Batch, outputs: Any) -> Mapping[str, NDArray[Any]]:
        """(N, 512) as the network gives them."""
        return {"embedding": np.asarray(outputs.numpy(), np.float32)}


def on_cpu(outputs: Any) -> Any:
    """A tensor, or a tuple of them, as float32 on the CPU."""
    if isinstance(outputs, tuple):
        return tuple(on_cpu(output) for output in outputs)
    assert isinstance(outputs, Tensor)  # noqa: S101 - for the type checker
    return outputs.float().cpu()


def owning(model: nn.Module, read: Set[int]) -> nn.Module:
    """The model with copies in the place of tensors that still lie where they were read.

    Tensors of a safetensors file are a view of it. A single one that stays keeps the whole file
    in memory, and changes, or ends the process, when someone overwrites it.

    Args:
        model: the network.
        read: addresses of the tensors as they were read.
    """
    # New objects: one that is a view would go on holding what it was a view of.
    copies: dict[int, Tensor] = {}
    for module in model.modules():
        for name, tensor in [*module.named_parameters(recurse=False)]:
            if tensor.data_ptr() in read:
                copy = nn.Parameter(tensor.detach().clone(), requires_grad=False)
                module._parameters[name] = copies.setdefault(id(tensor), copy)  # type: ignore[assignment]
        for name, buffer in [*module.named_buffers(recurse=False)]:
            if buffer.data_ptr() in read:
                module._buffers[name] = copies.setdefault(id(buffer), buffer.detach().clone())
    return model


def completed(model: nn.Module, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published tensors with what files leave out and inference does not need.

    Counters of batches seen in training are 0 where they are absent, and of two names of one
    tensor one is enough. Floating-point numbers become float32.
    """
    values = {k: v.float() if v.is_floating_point() else v for k, v in stored.items()}
    names: dict[int, list[str]] = {}
    for key, tensor in model.state_dict(keep_vars=True).items():
        names.setdefault(id(tensor), []).append(key)
        if key.endswith("num_batches_tracked"):
            values.setdefault(key, torch.zeros(tensor.shape, dtype=tensor.dtype))
    for group in names.values():
        present = [name for name in group if name in values]
        if present:
            for name in group:
                values.setdefault(name, values[present[-1]])
    return values


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object that belongs to weights.

    Raises:
        WeightsError: the file cannot be read, or is something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: not a readable JSON file ({error})") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: holds {type(content).__name__}, not an object")
    return content
