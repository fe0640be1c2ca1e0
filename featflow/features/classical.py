"""Scaling, principal components, linear classifiers and calibration as plain arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.errors import ArrayError, WeightsError

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Projection:
    """Standardise features, then project them on principal components.

    Attributes:
        mean, scale: (F,) of the features, as scikit-learn's ``StandardScaler`` has them.
        centre: (F,) of the standardised features, ``PCA.mean_``.
        components: (K, F), ``PCA.components_``.
    """

    mean: Doubles
    scale: Doubles
    centre: Doubles
    components: Doubles

    def __post_init__(self) -> None:
        sizes = {array.shape for array in (self.mean, self.scale, self.centre)}
        if len(sizes) != 1 or self.components.shape[1:] != self.mean.shape:
            raise WeightsError(
                "the arrays of a projection do not fit: mean, scale and centre have shapes "
                f"{sorted(sizes)}, components {self.components.shape}"
            )

    def __call__(self, features: Floats) -> Doubles:
        """(N, F) to (N, K)."""
        x = np.asarray(features, np.float64)
        if x.ndim != 2 or x.shape[1:] != self.mean.shape:
            raise ArrayError(
                "features", f"have shape {x.shape}, the projection needs (N, {len(self.mean)})"
            )
        standard = (x - self.mean) / self.scale
        return np.asarray((standard - self.centre) @ self.components.T, np.float64)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Projection:
        """Read the attributes by name; WeightsError where one is missing or misshapen."""
        return cls(**_doubles(arrays, ("mean", "scale", "centre", "components")))


@dataclass(frozen=True, slots=True)
class LinearClassifier:
    """A linear support vector machine for one class against the rest.

    Attributes:
        weight: (F,).
        bias: ().
    """

    weight: Doubles
    bias: Doubles

    def reads(self, features: int) -> bool:
        """Whether rows of so many features are what it was trained on."""
        return len(self.weight) == features

    def margin(self, features: Floats) -> Doubles:
        """Signed distance times the weight's length, (N, F) to (N,)."""
        x = np.asarray(features, np.float64)
        if x.ndim != 2 or x.shape[1:] != self.weight.shape:
            raise ArrayError("features", f"have shape {x.shape}, need (N, {len(self.weight)})")
        return np.asarray(x @ self.weight + self.bias, np.float64)

    def probability(self, features: Floats) -> Doubles:
        """1 on the positive side and 0 on the other; the machine knows no more."""
        return (self.margin(features) > 0).astype(np.float64)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> LinearClassifier:
        """Read the attributes by name; WeightsError where one is missing or misshapen."""
        made = cls(**_doubles(arrays, ("weight", "bias")))
        if made.weight.ndim != 1 or made.bias.ndim != 0:
            raise WeightsError("a linear classifier needs a weight (F,) and a bias ()")
        return made


@dataclass(frozen=True, slots=True)
class Calibration:
    """A rising curve from a raw probability to a calibrated one (isotonic regression).

    Attributes:
        raw: (P,) rising.
        calibrated: (P,).
    """

    raw: Doubles
    calibrated: Doubles

    def __call__(self, probability: Floats) -> Doubles:
        """Linear between the curve's points and level beyond its ends."""
        return np.asarray(np.interp(probability, self.raw, self.calibrated), np.float64)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Calibration:
        """Read the attributes by name; WeightsError where one is missing or misshapen."""
        made = cls(**_doubles(arrays, ("raw", "calibrated")))
        if made.raw.ndim != 1 or made.raw.shape != made.calibrated.shape or not len(made.raw):
            raise WeightsError("a calibration needs two arrays of one length")
        if (np.diff(made.raw) < 0).any():
            raise WeightsError("the raw probabilities of a calibration must rise")
        return made


def _doubles(arrays: Mapping[str, NDArray[Any]], names: tuple[str, ...]) -> dict[str, Doubles]:
    missing = [name for name in names if name not in arrays]
    if missing:
        raise WeightsError(f"the array {missing[0]!r} is missing")
    return {name: np.asarray(arrays[name], np.float64) for name in names}
