"""Bounding gradients: by value, by norm, or by what norms were common so far."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from featflow.errors import OptionError

Method = Literal["none", "value", "norm", "global_norm", "autoclip"]


class GradClip:
    """Clips gradients in place.

    Args:
        method: ``value`` bounds each element, ``norm`` the norm of each tensor, ``global_norm``
            the norm of all tensors together; ``autoclip`` bounds the latter by a percentile of
            the global norms seen so far, this one included (Seetharaman et al. 2020,
            arXiv 2007.14469); ``none`` bounds nothing.
        value: the bound; for ``autoclip`` the percentile, 0..100.
        history: how many norms ``autoclip`` remembers.

    Raises:
        OptionError: a method or number cannot be used.
    """

    def __init__(
        self, method: Method = "global_norm", value: float = 1.0, history: int = 10_000
    ) -> None:
        if method not in get_args(Method):
            raise OptionError(f"clipping must be one of {get_args(Method)}, got {method!r}")
        largest = 100.0 if method == "autoclip" else math.inf
        if not 0 < value <= largest or history < 1:
            raise OptionError(
                f"{method} clipping needs 0 < value <= {largest} and history >= 1, "
                f"got {value} and {history}"
            )
        self.method, self.value = method, value
        self.norms: deque[float] = deque(maxlen=history)

    def __call__(self, parameters: Iterable[Tensor]) -> float:
        """Clip, and return the global norm that the gradients had before.

        Where that norm is not finite nothing is clipped or remembered: skip the step.
        """
        parameters = [p for p in parameters if p.grad is not None]
        norm = float(nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))
        if not math.isfinite(norm) or self.method == "none":
            return norm
        if self.method == "value":
            nn.utils.clip_grad_value_(parameters, self.value)
        elif self.method == "norm":
            for parameter in parameters:
                nn.utils.clip_grad_norm_(parameter, self.value)
        else:
            self._scale(parameters, norm, self._bound(norm))
        return norm

    def _bound(self, norm: float) -> float:
        if self.method == "global_norm":
            return self.value
        self.norms.append(norm)
        return float(np.percentile(self.norms, self.value))

    @staticmethod
    def _scale(parameters: Iterable[Tensor], norm: float, bound: float) -> None:
        if norm <= bound:
            return
        with torch.no_grad():
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad.mul_(bound / norm)

    def state_dict(self) -> dict[str, Any]:
        """The norms that ``autoclip`` remembers, a float64 tensor."""
        return {"norms": torch.tensor(list(self.norms), dtype=torch.float64)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Remember the norms that were saved."""
        self.norms = deque(state["norms"].tolist(), maxlen=self.norms.maxlen)
