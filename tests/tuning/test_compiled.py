"""Compiled networks: equal to plain ones, at one batch size, and clear about what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils import _pytree as tree

from featflow import Detector
from featflow.errors import CompileError
from featflow.extract.wrap import Wrapped
from featflow.flow.batch import Batch
from featflow.flow.node import InputSpec, Node
from featflow.geometry.crop import CropRule
from featflow.nodes import make_node
from featflow.tuning import compile_node
from featflow.tuning.compiled import FixedBatch, networks_of
from featflow.tuning.warmup import run_once


class Small(nn.Module):
    """Two outputs, one a convolution of an 8 x 8 picture."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
        for value in self.net.parameters():
            value.data = torch.randn(value.shape, generator=generator)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.net(x), x.mean((1, 2, 3))


class Looks(Node):
    """Gaze from a small network."""

    kind, name, unit = "gaze", "looks", "face"
    requires, provides = ("box",), ("gaze",)
    shapes = {"gaze": (6,)}  # noqa: RUF012
    spec = InputSpec(crop=CropRule(8))
    batch_size = 4

    def __init__(self) -> None:
        super().__init__()
        self.parts: dict[str, Any] = {"nets": [Small().eval()], "sizes": [1, 2]}
        self.other = self.parts["nets"][0]

    def pre_process(self, batch: Batch) -> Any:
        return batch.crops(self.spec.crop)

    def process(self, inputs: Any) -> Any:
        values, mean = self.parts["nets"][0](self.spec.prepare(inputs, self.device))
        return torch.cat([values, mean[:, None]], 1)

    def post_process(self, batch: Batch, outputs: Any) -> dict[str, np.ndarray]:
        return {"gaze": outputs.numpy()}


@pytest.fixture
def plainly(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """torch.compile that compiles nothing and notes the shapes that it is called with."""
    shapes: list[tuple[int, ...]] = []

    def compiled(network: nn.Module, **options: Any) -> Any:
        assert options == {"dynamic": False}

        def call(*inputs: torch.Tensor) -> Any:
            shapes.extend(tuple(x.shape) for x in inputs)
            return network(*inputs)

        return call

    monkeypatch.setattr(torch, "compile", compiled)
    return shapes


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 9])
def test_the_network_sees_one_size_and_rows_come_back(count: int, plainly: Any) -> None:
    network = Small().eval()
    fixed = FixedBatch(network, 4)
    x = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        got, want = fixed(x), network(x)
    assert set(plainly) <= {(4, 3, 8, 8)}
    assert len(plainly) == -(-count // 4)
    for one, two in zip(got, want, strict=True):
        assert one.shape == two.shape
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


def test_what_stands_in_the_padding_reaches_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rows, with zeros and with garbage after them."""
    network = Small().eval()
    monkeypatch.setattr(torch, "compile", lambda net, **_: net)
    x = torch.randn(3, 3, 8, 8)
    short = FixedBatch(network, 8)(x)
    full = FixedBatch(network, 8)(torch.cat([x, torch.full((5, 3, 8, 8), 1e6)]))
    for one, two in zip(short, full, strict=True):
        torch.testing.assert_close(one, two[:3], atol=1e-5, rtol=1e-5)


class Named(NamedTuple):
    """What a network says, by name."""

    values: torch.Tensor
    mean: torch.Tensor


class Says(Small):
    """The outputs of the small network in one structure or another."""

    def __init__(self, shape: Callable[[torch.Tensor, torch.Tensor], Any]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: torch.Tensor) -> Any:
        return self.shape(*super().forward(x))


@pytest.mark.parametrize("count", [1, 4, 9])
@pytest.mark.parametrize(
    "shape",
    [
        Named,
        lambda values, mean: [values, mean],
        lambda values, mean: {"values": values, "mean": mean},
        lambda values, mean: (Named(values, mean), {"again": [mean]}),
    ],
    ids=["named", "list", "dict", "nested"],
)
def test_outputs_keep_their_structure(count: int, shape: Any, plainly: Any) -> None:
    network = Says(shape).eval()
    x = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        got, want = FixedBatch(network, 4)(x), network(x)
    flat, wanted = (tree.tree_flatten(each) for each in (got, want))
    assert flat[1] == wanted[1]
    for one, two in zip(flat[0], wanted[0], strict=True):
        assert len(one) == count
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("slot", ["landmark", "pose", "au", "emotion", "identity", "gaze"])
def test_embedded_nodes_answer_alike_with_short_batches(slot: str, plainly: Any) -> None:
    node = make_node(slot, "mlp" if slot == "pose" else "tiny")
    node.load("cpu")
    plain = {count: run_once(node, count) for count in (1, 3, 5)}
    assert compile_node(node, 3) >= 1
    for count, values in plain.items():
        for name, again in run_once(node, count).items():
            np.testing.assert_allclose(again, values[name], atol=1e-4, rtol=1e-4)


def test_networks_are_found_once_wherever_they_lie(plainly: Any) -> None:
    node = Looks()
    network = node.other
    found = networks_of(node)
    assert [net for net, _ in found] == [network, network]
    assert compile_node(node) == 1
    assert node.other is node.parts["nets"][0]
    assert isinstance(node.other, FixedBatch)
    assert node.other.size == 4
    assert compile_node(node) == 0
    # A wrapper's network is that of the node inside, also where two wrappers share it.
    inside = Looks()
    wrapped = Wrapped(Wrapped(inside, "once"), "twice")
    wrapped.beside = inside  # type: ignore[attr-defined]
    assert compile_node(wrapped, 6) == 1
    assert isinstance(inside.other, FixedBatch)
    assert inside.other.size == 6
    assert compile_node(make_node("mask", "hull")) == 0
    # What points back to itself is searched once; what is no node, list or mapping is not.
    round_about = Looks()
    round_about.itself = round_about  # type: ignore[attr-defined]
    round_about.parts["again"] = round_about.parts
    round_about.foreign = type("Foreign", (), {"net": Small()})()  # type: ignore[attr-defined]
    assert len(networks_of(round_about)) == 2


def test_a_node_that_finds_faces_sees_one_frame_at_a_time(plainly: Any) -> None:
    node = make_node("face", "tiny")
    node.load("cpu")
    plain = run_once(node, 3, (64, 96))
    compile_node(node)
    again = run_once(node, 3, (64, 96))
    assert {shape[0] for shape in plainly} == {1}
    for name, values in plain.items():
        np.testing.assert_allclose(again[name], values, atol=1e-3)


def test_an_output_without_one_row_each_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Sums(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sum() * self.weight

    monkeypatch.setattr(torch, "compile", lambda net, **_: net)
    with pytest.raises(CompileError, match=r"shape \(1,\) for 4 rows"):
        FixedBatch(Sums(), 4)(torch.ones(2, 3))


def test_a_network_that_changes_when_compiled_is_refused_and_put_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def wrong(network: nn.Module, **_: Any) -> Any:
        def call(x: torch.Tensor) -> Any:
            values, mean = network(x)
            return values + 0.01, mean

        return call

    monkeypatch.setattr(torch, "compile", wrong)
    node = Looks()
    network = node.other
    with pytest.raises(CompileError, match=r"gaze/looks: compiled, 'gaze' differs by 0\.01"):
        compile_node(node)
    assert node.other is network
    assert node.parts["nets"][0] is network


def test_a_network_that_cannot_be_compiled_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(network: nn.Module, **_: Any) -> Any:
        def call(x: torch.Tensor) -> Any:
            raise RuntimeError("graph of horrors\nand 40 lines")

        return call

    monkeypatch.setattr(torch, "compile", refuses)
    node = Looks()
    with pytest.raises(CompileError, match="gaze/looks cannot be compiled: RuntimeError: graph"):
        compile_node(node)
    assert isinstance(node.other, Small)


def test_without_a_compiler_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import config

    with config.patch({"cpp.cxx": (None, "/no/such/g++")}):
        detector = Detector.only(pose="mlp", device="cpu", compile=True)
        with pytest.raises(CompileError, match=r"pose/mlp.*no C\+\+ compiler.*leave compile out"):
            detector.load()


def test_a_detector_compiles_again_after_it_let_go(plainly: Any) -> None:
    detector = Detector.only(pose="mlp", device="cpu", compile=True)
    node = detector.nodes["pose"]
    for _ in range(2):
        detector.load()
        detector.load()
        assert isinstance(node.model, FixedBatch)  # type: ignore[attr-defined]
        assert not isinstance(node.model.network, FixedBatch)  # type: ignore[attr-defined]
        detector.close()


def test_truly_compiled_equals_plain() -> None:
    """The one test that compiles: a small network, a full batch and short ones."""
    from torch._inductor import config, cpp_builder

    try:
        cpp_builder.get_cpp_compiler()
    except RuntimeError:
        pytest.skip("torch finds no C++ compiler")
    node = Looks()
    plain = {count: run_once(node, count)["gaze"] for count in (4, 1, 7)}
    with config.patch(compile_threads=1):
        assert compile_node(node) == 1
        for count, values in plain.items():
            np.testing.assert_allclose(run_once(node, count)["gaze"], values, atol=1e-4)
