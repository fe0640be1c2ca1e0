"""Made-up input fits every node; warming up says what is wrong; layouts are found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from featflow.errors import NodeError, OptionError, WeightsError
from featflow.flow.node import InputSpec, Node
from featflow.geometry.crop import CropRule
from featflow.nodes import make_node
from featflow.tuning import find_layout, sample_of, warm_up
from featflow.tuning.warmup import run_once


class Wants(Node):
    kind, name, unit = "toy", "wants", "face"
    spec = InputSpec(crop=CropRule(8))
    shapes = {"answer": ()}  # noqa: RUF012
    provides = ("answer",)

    def __init__(self, requires: tuple[str, ...] = ("box",), breaks: str = "") -> None:
        super().__init__()
        self.requires = requires
        self.breaks = breaks

    def _step(self, phase: str, value: Any) -> Any:
        if phase == self.breaks:
            raise ValueError("the fuse is gone")
        return value

    def pre_process(self, batch: Any) -> Any:
        return self._step("pre_process", batch.crops(self.spec.crop))

    def process(self, inputs: Any) -> Any:
        return self._step("process", inputs)

    def post_process(self, batch: Any, outputs: Any) -> Any:
        value = np.zeros(len(batch.faces) + (self.breaks == "rows"), np.float32)
        return self._step("post_process", {"answer": value})


class Gives(Wants):
    name, provides, shapes = "gives", ("secret",), {"secret": (3, 2)}


@pytest.mark.parametrize("count", [1, 3, 8, 21])
def test_samples_have_as_many_rows_as_asked(count: int) -> None:
    finder, other = make_node("face", "tiny"), Wants(("box", "landmarks", "pose"))
    frames = sample_of(finder, count, (48, 80))
    assert len(frames.frames) == count
    assert {image.shape for image in frames.frames.images} == {(48, 80, 3)}
    assert frames.frames.sizes_px.tolist() == [[48, 80]] * count
    assert frames.frames.uids.tolist() == list(range(count))
    faces = sample_of(other, count)
    assert len(faces.faces) == count
    assert (np.diff(faces.faces.frame_uid) >= 0).all()
    assert faces.crops(CropRule(8)).std() > 5
    again = sample_of(other, count)
    np.testing.assert_array_equal(again.faces.box, faces.faces.box)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("channels", ["RGB", "BGR", "grey"])
@pytest.mark.parametrize("span", [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)])
def test_a_network_gets_samples_of_its_type_range_and_layout(
    channels_last: bool, channels: Any, span: tuple[float, float]
) -> None:
    node = Wants()
    node.spec = InputSpec(CropRule(8), channels, span, channels_last=channels_last)
    crops = sample_of(node, 5).crops(CropRule(8))
    assert (crops.shape, crops.dtype) == ((5, 8, 8, 3), np.uint8)
    tensor = node.spec.prepare(crops, torch.device("cpu"))
    assert tensor.shape == (5, 1 if channels == "grey" else 3, 8, 8)
    assert tensor.dtype == torch.float32
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert tensor.is_contiguous(memory_format=layout)
    low, high = span
    slack = (high - low) * 1e-6
    assert low - slack <= float(tensor.min()) < float(tensor.max()) <= high + slack
    assert float(tensor.max() - tensor.min()) > 0.3 * (high - low)


def test_fields_of_other_nodes_have_their_shape() -> None:
    node = Wants(("box", "secret"))
    assert sample_of(node, 5, others=[Gives()]).faces.fields["secret"].shape == (5, 3, 2)
    with pytest.raises(OptionError, match="requires 'secret', of which nobody"):
        sample_of(node, 5)
    with pytest.raises(OptionError, match="at least one"):
        sample_of(node, 0)


@pytest.mark.parametrize("phase", ["pre_process", "process", "post_process"])
def test_warming_up_raises_what_is_wrong(phase: str) -> None:
    with pytest.raises(NodeError, match=rf"toy/wants\.{phase} raised ValueError: the fuse") as told:
        warm_up([Wants(breaks=phase)])
    assert isinstance(told.value.__cause__, ValueError)
    with pytest.raises(NodeError, match="shape"):
        warm_up([Wants(breaks="rows")], {"toy/wants": 2})


def test_warming_up_runs_each_node_at_its_size() -> None:
    seen: list[int] = []

    class Counts(Wants):
        def process(self, inputs: Any) -> Any:
            seen.append(len(inputs))
            return inputs

    warm_up([Counts()], {"toy/wants": 5})
    assert seen == [5]
    assert run_once(Counts(), 2)["answer"].shape == (2,)


def test_embedded_nodes_warm_up() -> None:
    nodes = [make_node("landmark", "tiny"), make_node("pose", "mlp"), make_node("mask", "hull")]
    warm_up(nodes, {node.id: 2 for node in nodes})


def test_weights_that_are_not_there_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    node = make_node("emotion", "resmasknet", {"weights": tmp_path / "none.safetensors"})
    with pytest.raises(WeightsError):
        warm_up([node], {node.id: 1})


class LastAxis(nn.Module):
    """Takes channels last alone."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] != 3:
            raise ValueError(f"3 channels, not {x.shape[-1]}")
        return x.mean(-1)


def test_layouts_are_found_by_trying() -> None:
    assert find_layout(nn.Conv2d(3, 2, 3), (8, 10)) == "channels_first"
    assert find_layout(nn.Conv2d(1, 2, 3), (8, 10), channels=1) == "channels_first"
    assert find_layout(LastAxis(), (8, 10)) == "channels_last"
    assert find_layout(nn.Identity(), (8, 10)) == "channels_first"
    with pytest.raises(NodeError, match="Linear takes pictures in neither.*RuntimeError"):
        find_layout(nn.Linear(7, 2), (8, 10))
