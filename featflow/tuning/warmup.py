"""Made-up inputs for any node, running a node once before it matters, and a network's layout."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import cv2
import numpy as np
import torch
from torch import nn

from featflow.errors import NodeError, OptionError
from featflow.flow.batch import SHAPES, Batch, FaceBatch, FrameBatch
from featflow.flow.node import Node
from featflow.flow.rebatch import Parcel
from featflow.flow.stage import NodeStage
from featflow.testing.sample import sample_for

Layout = Literal["channels_first", "channels_last"]

FRAME_SIZE = (720, 1280)
"""Height and width of made-up frames: what most clips have."""


class _Stand(Node):
    """Asks for what a sample has, so that one can be made for any node."""

    kind, name, unit = "stand", "in", "face"

    def pre_process(self, batch: Batch) -> None:
        """Nothing."""

    def process(self, inputs: None) -> None:
        """Nothing."""

    def post_process(self, batch: Batch, outputs: None) -> dict[str, np.ndarray]:
        """Nothing."""
        return {}


def sample_of(
    node: Node,
    count: int,
    frame_size: tuple[int, int] = FRAME_SIZE,
    others: Iterable[Node] = (),
) -> Batch:
    """A made-up batch that a node can run on, the same every time.

    Args:
        node: the node.
        count: frames for a node that finds faces, faces for any other.
        frame_size: height and width of the frames for a node that finds faces.
        others: nodes of the same flow: fields that only they provide are zeros of their shape.

    Raises:
        OptionError: ``count`` is below 1, or the shape of a required field is not declared.
    """
    if count < 1:
        raise OptionError(f"a sample has at least one row, got {count}")
    if node.unit == "frame":
        return Batch(_frames(count, frame_size), FaceBatch.empty(()))
    sample = sample_for(_Stand())
    rows = np.sort(np.arange(count) % len(sample.faces))
    batch = sample.take_faces(rows)
    unknown = [name for name in node.requires if name not in batch.faces.fields]
    shapes = {name: _shape_of(name, node, others) for name in unknown}
    zeros = {name: np.zeros((count, *shape), np.float32) for name, shape in shapes.items()}
    return batch.with_fields(zeros)


def _frames(count: int, size: tuple[int, int]) -> FrameBatch:
    height, width = size
    drawn = sample_for(_Stand()).frames
    frames = drawn.take(np.arange(count) % len(drawn))
    frames.uids = np.arange(count, dtype=np.int64)
    frames.images = [
        np.asarray(cv2.resize(image, (width, height)), np.uint8) for image in frames.images
    ]
    frames.sizes_px = np.tile(np.array([height, width], np.int64), (count, 1))
    return frames


def _shape_of(name: str, node: Node, others: Iterable[Node]) -> tuple[int, ...]:
    for other in others:
        shape = other.shape_of(name) if name in other.provides else None
        if shape is not None:
            return shape
    if name in SHAPES:
        return SHAPES[name]
    raise OptionError(f"{node.id} requires {name!r}, of which nobody here declares the shape")


def warm_up(
    nodes: Sequence[Node],
    counts: dict[str, int] | None = None,
    frame_size: tuple[int, int] = FRAME_SIZE,
) -> None:
    """Run every node once on made-up input; whatever is wrong with one is raised.

    Args:
        nodes: loaded nodes of one flow.
        counts: rows by node id; the node's own ``batch_size`` where it says nothing.
        frame_size: height and width of made-up frames.

    Raises:
        FeatflowError: what a node raised, with its name and phase.
        NodeError: it raised something else, which is the ``__cause__``, or broke its contract.
    """
    for node in nodes:
        run_once(node, (counts or {}).get(node.id, node.batch_size), frame_size, nodes)


def run_once(
    node: Node,
    count: int,
    frame_size: tuple[int, int] = FRAME_SIZE,
    others: Iterable[Node] = (),
) -> dict[str, np.ndarray]:
    """What a node makes of a made-up batch, by field."""
    batch = sample_of(node, count, frame_size, others)
    result = NodeStage(node, count, {}).run(Parcel(batch))
    return dict(result.fields) if isinstance(result, FaceBatch) else dict(result)


def find_layout(
    network: nn.Module,
    size: tuple[int, int],
    channels: int = 3,
    device: torch.device | str = "cpu",
) -> Layout:
    """Which order of axes a network takes, found by trying both.

    A network that takes both gets ``"channels_first"``, which is what torch's layers expect.

    Args:
        network: takes one batch of pictures.
        size: height and width of the pictures.
        channels: colour channels of the pictures.
        device: where the network is.

    Raises:
        NodeError: it takes neither; both errors are told.
    """
    height, width = size
    shapes: dict[Layout, tuple[int, ...]] = {
        "channels_first": (1, channels, height, width),
        "channels_last": (1, height, width, channels),
    }
    told = []
    for layout, shape in shapes.items():
        pixels = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(device)
        try:
            with torch.inference_mode():
                network(pixels)
        except Exception as error:  # noqa: BLE001 - whatever it raises says that it does not fit
            told.append(f"{layout} {shape}: {type(error).__name__}: {error}")
        else:
            return layout
    raise NodeError(f"{type(network).__name__} takes pictures in neither layout: {'; '.join(told)}")
