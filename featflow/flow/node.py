"""The node contract: what a model declares about itself, and its three phases."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from featflow.flow.batch import SHAPES, Batch, FaceBatch
from featflow.geometry.crop import CropRule


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What a network expects to see.

    Attributes:
        crop: how faces are cut; None for a node that sees whole frames or no pixels.
        channels: colour order.
        value_range: what black and white become before ``mean`` and ``std``.
        mean, std: per channel (or one number), in units of ``value_range``.
        channels_last: memory layout that is fastest for the network; values are the same.
    """

    crop: CropRule | None = None
    channels: Literal["RGB", "BGR", "grey"] = "RGB"
    value_range: tuple[float, float] = (0.0, 1.0)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channels_last: bool = True

    def prepare(self, images: NDArray[np.uint8], device: torch.device) -> torch.Tensor:
        """Turn (N, H, W, 3) uint8 RGB into the (N, C, H, W) float32 that the network expects."""
        pixels = torch.from_numpy(np.ascontiguousarray(images)).to(device)
        if self.channels == "BGR":
            pixels = pixels.flip(-1)
        # A copy, so the caller's pixels stay as they are.
        values = pixels.to(torch.float32, copy=True)
        if self.channels == "grey":
            values = (values * values.new_tensor([0.299, 0.587, 0.114])).sum(-1, keepdim=True)
        self._scale(values)
        tensor = values.permute(0, 3, 1, 2)  # a view: memory stays channels-last
        if self.channels_last:
            return tensor.contiguous(memory_format=torch.channels_last)
        return tensor.contiguous()

    def _scale(self, values: torch.Tensor) -> None:
        """Bring 0..255 to the network's range, mean and std, in place; (N, H, W, C)."""
        low, high = self.value_range
        count, height, width, channels = values.shape
        mean, std = (values.new_tensor(each).expand(channels) for each in (self.mean, self.std))
        # Whole rows at a time: over three channels alone the arithmetic takes four times as long.
        rows = values.view(count, height, width * channels)
        rows.mul_(((high - low) / (255.0 * std)).repeat(width))
        rows.add_(((low - mean) / std).repeat(width))


class Node(ABC):
    """A model (or a closed formula) that reads some fields of a batch and adds others.

    A subclass declares the class attributes and implements the phases. The phases are plain
    functions of their arguments and may run in three different threads; ``process`` alone
    touches the device. Nothing is loaded before :meth:`load`.

    What is declared belongs to the class; a node that is made of other nodes or of options may
    declare it for itself.

    Attributes:
        kind: slot that the node fills (``"face"``, ``"landmark"``, ...).
        name: name within the kind.
        unit: ``"frame"`` for nodes that find faces, ``"face"`` for nodes that describe them.
        requires: fields of the faces that must be there before.
        provides: fields that are there afterwards.
        spec: what the network expects to see.
        batch_size: frames or faces at a time, where the caller does not say.
        shapes: shape of one face's value in each provided field that
            :data:`featflow.flow.batch.SHAPES` does not know; of the class, or of the node.
        reads_frames: True for a face node that reads ``batch.frames.images`` itself; a node
            with a crop rule need not say so.
    """

    kind: str
    name: str
    unit: Literal["frame", "face"]
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...]
    spec: InputSpec = InputSpec()
    batch_size: int = 8
    shapes: Mapping[str, tuple[int, ...]] = MappingProxyType({})
    reads_frames: bool = False

    def __init__(self) -> None:
        self.device = torch.device("cpu")

    @property
    def id(self) -> str:
        """``kind/name``."""
        return f"{self.kind}/{self.name}"

    def __repr__(self) -> str:
        return self.id

    @property
    def needs_frames(self) -> bool:
        """Whether pictures must be kept until this node has run."""
        return self.unit == "frame" or self.spec.crop is not None or self.reads_frames

    def shape_of(self, name: str) -> tuple[int, ...] | None:
        """Shape of one face's value in a field; None where it is not declared."""
        return self.shapes.get(name, SHAPES.get(name))

    def usable(self, faces: FaceBatch) -> NDArray[np.bool_]:
        """(N,) faces that a face node can work on; the others get NaN and are never run.

        A face is usable when its box is finite and no required field is NaN throughout.
        Five points are not asked for, because crops fall back on the box.
        """
        ok = np.isfinite(faces.box).all(1)
        for name in set(self.requires) - {"box", "points5"}:
            values = faces.fields[name]
            if len(values) and values.dtype.kind == "f":
                ok &= ~np.isnan(values.reshape(len(values), -1)).all(1)
        return np.asarray(ok, np.bool_)

    def load(self, device: torch.device | str = "cpu") -> None:
        """Read weights and move to ``device``; calling it again is cheap."""
        self.device = torch.device(device)

    def unload(self) -> None:
        """Let go of loaded weights; :meth:`load` reads them again."""
        self.device = torch.device("cpu")

    def weights_hash(self) -> str:
        """SHA-256 of the weights as recorded with every table; empty without weights."""
        return ""

    @abstractmethod
    def pre_process(self, batch: Batch) -> Any:
        """Make what ``process`` takes, on the CPU."""

    @abstractmethod
    def process(self, inputs: Any) -> Any:
        """Run the network."""

    @abstractmethod
    def post_process(self, batch: Batch, outputs: Any) -> FaceBatch | Mapping[str, NDArray[Any]]:
        """Turn outputs into faces (``unit`` frame) or into one array a provided field."""
