"""Optimisers that torch does not have: AdaBelief and Lion."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from featflow.errors import OptionError


class _PerTensor(Optimizer):
    """An optimiser that treats one tensor at a time."""

    def _update(self, parameter: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move the weights against their gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)
        return loss


class AdaBelief(_PerTensor):
    """AdaBelief (Zhuang et al. 2020, arXiv 2010.07468), decoupled weight decay.

    Like Adam, but steps are long where gradients are as expected and short where they surprise.

    Args:
        params: parameters or groups.
        lr: learning rate.
        betas: decay of the mean gradient and of its squared surprise.
        eps: added to the surprise, inside and outside the root.
        weight_decay: decoupled.
        amsgrad: divide by the largest surprise so far.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-16,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
    ) -> None:
        _check(lr, betas, weight_decay)
        given = {"lr": lr, "betas": betas, "eps": eps, "amsgrad": amsgrad}
        super().__init__(params, {**given, "weight_decay": weight_decay})

    def _update(self, parameter: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_var"] = torch.zeros_like(parameter)
            if group["amsgrad"]:
                state["max_exp_avg_var"] = torch.zeros_like(parameter)
        state["step"] += 1
        step, (beta1, beta2) = float(state["step"]), group["betas"]
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        mean, variance = state["exp_avg"], state["exp_avg_var"]
        mean.lerp_(grad, 1 - beta1)
        surprise = grad - mean
        variance.mul_(beta2).addcmul_(surprise, surprise, value=1 - beta2).add_(group["eps"])
        if group["amsgrad"]:
            torch.maximum(state["max_exp_avg_var"], variance, out=state["max_exp_avg_var"])
            variance = state["max_exp_avg_var"]
        root = variance.sqrt().div_((1 - beta2**step) ** 0.5).add_(group["eps"])
        parameter.addcdiv_(mean, root, value=-group["lr"] / (1 - beta1**step))


class Lion(_PerTensor):
    """Lion (Chen et al. 2023, arXiv 2302.06675): the sign of a mix of momentum and gradient.

    Takes a third to a tenth of Adam's learning rate, and as many times its weight decay.

    Args:
        params: parameters or groups.
        lr: learning rate.
        betas: share of the momentum in the step, and its decay.
        weight_decay: decoupled.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        _check(lr, betas, weight_decay)
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    def _update(self, parameter: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["exp_avg"] = torch.zeros_like(parameter)
        (beta1, beta2), momentum = group["betas"], state["exp_avg"]
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(momentum.lerp(grad, 1 - beta1).sign_(), alpha=-group["lr"])
        momentum.lerp_(grad, 1 - beta2)


def _check(lr: float, betas: tuple[float, float], weight_decay: float) -> None:
    if not (lr >= 0 and weight_decay >= 0 and all(0 <= beta < 1 for beta in betas)):
        raise OptionError(
            f"optimiser: lr {lr}, betas {betas} or weight_decay {weight_decay} cannot be used"
        )
