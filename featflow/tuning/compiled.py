"""``torch.compile`` for the networks of nodes, at one batch size.

A compiled network sees batches of one size only: short ones are padded with zeros and the
answers to the padding are cut off, long ones are cut. Networks in evaluation mode treat
rows one by one, so what stands in the padding cannot reach another row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from featflow.errors import CompileError
from featflow.flow.node import Node
from featflow.tuning.warmup import run_once

TOLERANCE = 1e-4
"""How far a compiled network may be from the plain one, absolute and relative."""

Replace = Callable[[nn.Module], None]


class FixedBatch(nn.Module):
    """A compiled network that sees batches of one size.

    Args:
        network: the network; its inputs and outputs are tensors with one row a face or frame.
        size: rows that the compiled network sees.
    """

    def __init__(self, network: nn.Module, size: int) -> None:
        super().__init__()
        self.network = network
        self.size = size
        # Not a submodule: its weights are those of the network.
        self.__dict__["_compiled"] = torch.compile(network, dynamic=False)

    def forward(self, *inputs: Tensor) -> Any:
        """What the network makes of the rows, in their order."""
        count = len(inputs[0])
        starts = range(0, count, self.size)
        parts = [self._part([x[at : at + self.size] for x in inputs]) for at in starts]
        if not parts:
            return self.network(*inputs)
        return parts[0] if len(parts) == 1 else _joined(parts)

    def _part(self, inputs: list[Tensor]) -> Any:
        count = len(inputs[0])
        outputs = self.__dict__["_compiled"](*(_padded(x, self.size) for x in inputs))
        return outputs if count == self.size else _cropped(outputs, count, self.size)


def compile_node(node: Node, size: int | None = None) -> int:
    """Compile the networks of a loaded node, in place; doing it again does nothing.

    Nodes without a network stay as they are. A node that describes faces is run compiled and
    plain, with a full batch and with one row. A node that finds faces is compiled when it meets a
    frame: each size of frames costs a compilation.

    Args:
        node: a loaded node.
        size: rows at a time; for None the node's ``batch_size``, and 1 for a node that
            finds faces, whose frames differ in size.

    Returns:
        how many networks were compiled.

    Raises:
        CompileError: there is no compiler, the network cannot be compiled, or it computes
            something else when it is.
    """
    found = [(net, put) for net, put in networks_of(node) if not isinstance(net, FixedBatch)]
    if not found:
        return 0
    rows = size or (1 if node.unit == "frame" else node.batch_size)
    _require_compiler(node)
    counts = sorted({1, rows}) if node.unit == "face" else []
    plain = {count: run_once(node, count) for count in counts}
    made: dict[int, FixedBatch] = {}
    for network, put in found:
        put(made.setdefault(id(network), FixedBatch(network, rows)))
    try:
        for count, values in plain.items():
            _compare(node, values, run_once(node, count))
    except Exception as error:
        for network, put in found:
            put(network)
        if isinstance(error, CompileError):
            raise
        raise CompileError(f"{node.id} cannot be compiled: {_root(error)}") from error
    return len(made)


def networks_of(node: Node) -> list[tuple[nn.Module, Replace]]:
    """Networks with weights that a node holds, each with a way to put another in its place.

    Looks into attributes, lists and mappings, and into nodes inside nodes; not into networks,
    so that only outermost ones are found.
    """
    return list(_search(node, set()))


def _search(holder: Any, seen: set[int]) -> Iterator[tuple[nn.Module, Replace]]:
    if id(holder) in seen:
        return
    seen.add(id(holder))
    for key, value in list(_entries(holder)):
        if isinstance(value, nn.Module):
            if any(True for _ in value.parameters()):
                yield value, _setter(holder, key)
        elif isinstance(value, (Node, dict, list, tuple)):
            yield from _search(value, seen)


def _entries(holder: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(holder, dict):
        yield from holder.items()
    elif isinstance(holder, (list, tuple)):
        yield from enumerate(holder)
    else:
        yield from vars(holder).items()


def _setter(holder: Any, key: Any) -> Replace:
    def put(network: nn.Module) -> None:
        if isinstance(holder, Node):
            setattr(holder, key, network)
        elif isinstance(holder, tuple):
            raise CompileError("a network in a tuple cannot be replaced; keep it in a list")
        else:
            holder[key] = network

    return put


def _padded(values: Tensor, size: int) -> Tensor:
    missing = size - len(values)
    if not missing:
        return values
    zeros = torch.zeros_like(values[:1]).expand(missing, *values.shape[1:])
    padded = torch.cat([values, zeros])
    # One memory layout for all batches: another one would be compiled anew.
    last = values.ndim == 4 and values.is_contiguous(memory_format=torch.channels_last)
    return padded.contiguous(memory_format=torch.channels_last) if last else padded.contiguous()


def _cropped(outputs: Any, count: int, size: int) -> Any:
    if isinstance(outputs, Tensor):
        if outputs.ndim == 0 or len(outputs) != size:
            raise CompileError(
                f"an output of shape {tuple(outputs.shape)} for {size} rows has not one row each"
            )
        return outputs[:count]
    if isinstance(outputs, dict):
        return {key: _cropped(value, count, size) for key, value in outputs.items()}
    if isinstance(outputs, (list, tuple)):
        return _like(outputs, [_cropped(value, count, size) for value in outputs])
    raise CompileError(f"an output is a {type(outputs).__name__}, not a tensor")


def _joined(parts: list[Any]) -> Any:
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(parts)
    if isinstance(first, dict):
        return {key: _joined([part[key] for part in parts]) for key in first}
    return _like(first, [_joined(list(column)) for column in zip(*parts, strict=True)])


def _like(outputs: list[Any] | tuple[Any, ...], values: list[Any]) -> Any:
    """Values as a list or tuple of the same type; one with named fields takes them one by one."""
    return type(outputs)(*values) if hasattr(outputs, "_fields") else type(outputs)(values)


def _require_compiler(node: Node) -> None:
    if node.device.type != "cpu":
        return
    from torch._inductor import cpp_builder

    try:
        cpp_builder.get_cpp_compiler()
    except RuntimeError as error:
        raise CompileError(
            f"{node.id} cannot be compiled: torch finds no C++ compiler; install one (g++ or "
            f"clang++), or leave compile out"
        ) from error


def _compare(node: Node, plain: dict[str, Any], compiled: dict[str, Any]) -> None:
    for name, values in plain.items():
        if values.dtype.kind != "f":
            continue
        one, two = (np.asarray(x, np.float64) for x in (values, compiled[name]))
        if not np.allclose(one, two, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
            worst = float(np.nanmax(np.abs(one - two)))
            raise CompileError(
                f"{node.id}: compiled, {name!r} differs by {worst:.3g} from the plain network; "
                f"leave compile out"
            )


def _root(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
