"""Batch norms of any network merged into the layers before them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from featflow.nodes.networks.layers import FrozenBatchNorm2d

_CONVOLUTION_NORMS = (nn.BatchNorm2d, FrozenBatchNorm2d)


def fold_traced(model: nn.Module) -> nn.Module:
    """Merge batch norms into the convolution or linear layer before them, in place.

    Which layer feeds a norm is read from a trace of ``forward``, not from the order of the
    modules. A norm stays where its layer's output is used elsewhere too, or where it comes
    before its convolution (as in IR-50): padding with zeros does not commute with it.

    Args:
        model: in evaluation mode, with its weights. Parts that cannot be traced because what
            they do depends on values are searched for parts that can.

    Returns:
        ``model``, whose outputs are equal up to rounding.
    """
    graph = _traced(model)
    if graph is None:
        for child in model.children():
            fold_traced(child)
        return model
    for layer, norm in _pairs(model, graph):
        _replace(model, {layer: _fused(layer, norm), norm: nn.Identity().eval()})
    return model


class _Tracer(fx.Tracer):
    """Looks into everything but layers."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, FrozenBatchNorm2d) or super().is_leaf_module(m, module_qualified_name)


def _traced(model: nn.Module) -> fx.Graph | None:
    try:
        return _Tracer().trace(model)
    except Exception:  # noqa: BLE001 - whatever a forward says when it is given no values
        return None


def _pairs(model: nn.Module, graph: fx.Graph) -> list[tuple[nn.Module, nn.Module]]:
    """Layers whose only output goes to a norm, with that norm; each runs once."""
    runs = {n: model.get_submodule(str(n.target)) for n in graph.nodes if n.op == "call_module"}
    times = Counter(id(module) for module in runs.values())
    pairs = []
    for at, norm in runs.items():
        before: Any = at.args[0] if at.args else None
        layer = runs.get(before)
        if layer is None or len(before.users) > 1 or times[id(layer)] + times[id(norm)] > 2:
            continue
        if _fits(layer, norm):
            pairs.append((layer, norm))
    return pairs


def _fits(layer: nn.Module, norm: nn.Module) -> bool:
    if isinstance(layer, nn.ConvTranspose2d) and layer.groups > 1:
        return False  # torch merges these wrongly
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        return isinstance(norm, _CONVOLUTION_NORMS)
    return isinstance(layer, nn.Linear) and isinstance(norm, nn.BatchNorm1d)


def _fused(layer: nn.Module, norm: Any) -> nn.Module:
    if isinstance(layer, nn.Linear):
        return fuse_linear_bn_eval(layer, norm)
    assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)  # noqa: S101 - for the type checker
    return fuse_conv_bn_eval(layer, norm, isinstance(layer, nn.ConvTranspose2d))


def _replace(model: nn.Module, changed: dict[nn.Module, nn.Module]) -> None:
    """Put modules in the place of others, under every name that those have."""
    for parent in model.modules():
        for name, child in parent._modules.items():
            if child in changed:
                parent._modules[name] = changed[child]
