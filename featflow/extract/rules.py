"""Rules that judge a face by one number and the limits that it must keep."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.errors import OptionError
from featflow.flow.batch import Batch
from featflow.geometry.centring import align51, expansion_of
from featflow.geometry.landmarks import PARTS
from featflow.geometry.mean_face import TEMPLATE51
from featflow.geometry.similarity import apply, invert, scale_of

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One number of each face and its inclusive limits.

    Attributes:
        field: field of the batch that keeps the number; the table's column where the schema
            has one.
        title: what the number is, as ``FilterReason`` calls it.
        requires: fields that ``measure`` reads.
        measure: gives (N,) numbers, NaN where a face cannot be judged.
        low, high: smallest and largest number that is kept.
        unknown: why a face without the number is marked; empty where it is kept.
    """

    field: str
    title: str
    requires: tuple[str, ...]
    measure: Callable[[Batch], Floats]
    low: float = -math.inf
    high: float = math.inf
    unknown: str = ""

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise OptionError(
                f"{self.title}: the smallest that is kept, {self.low:g}, is above the largest, "
                f"{self.high:g}"
            )

    def reasons(self, values: Floats) -> list[str]:
        """Why each value is marked; empty where it is kept."""
        return [self._reason(value) for value in np.asarray(values, np.float64).tolist()]

    def _reason(self, value: float) -> str:
        if math.isnan(value):
            return self.unknown
        if value < self.low:
            return f"{self.title} {value:.4g} is below {self.low:.4g}"
        if value > self.high:
            return f"{self.title} {value:.4g} is above {self.high:.4g}"
        return ""


def size_rule(smallest: float = 0.0, largest: float = math.inf) -> Rule:
    """The longer side of the box, as a share of the frame's shorter side (1 is all of it).

    Raises:
        OptionError: a share is negative, or the smallest is above the largest.
    """
    _check_positive("size", smallest)
    return Rule("face_share", "size", ("box",), _share, smallest, largest)


def order_rule() -> Rule:
    """Brows and eyes must stand above the mouth once the face is upright.

    The number is the space between the lowest of the one and the highest of the other, in
    units of the aligned face; negative where they overlap.
    """
    return Rule("aligned_order", "space between eyes and mouth", _POINTS, _order, 0.0)


def scale_rule(smallest: float = 0.03, largest: float = 4.0) -> Rule:
    """Side of the aligned face's crop, centring ``face``, as a share of the frame's shorter side.

    Raises:
        OptionError: a share is negative, or the smallest is above the largest.
    """
    _check_positive("scale", smallest)
    return Rule("aligned_scale", "scale", _POINTS, _scale, smallest, largest)


def distance_rule(largest: float = 0.40) -> Rule:
    """Mean distance in x and y of the 51 aligned points from the mean face.

    The default lets nearly everything pass. On photographs the median is .02, and 99 % lie
    below .05; .1 to .15 finds points that are not on a face.

    Raises:
        OptionError: ``largest`` is negative.
    """
    _check_positive("distance", largest)
    return Rule("aligned_distance", "distance from the mean face", _POINTS, _distance, 0, largest)


def roll_rule(largest: float) -> Rule:
    """Tilt of the face in the picture, radians, either way.

    Raises:
        OptionError: ``largest`` is negative.
    """
    _check_positive("roll", largest)
    return Rule("aligned_roll", "roll", _POINTS, _roll, -largest, largest)


def aligned_rules(
    distance: float = 0.40,
    roll: float | None = None,
    smallest: float = 0.03,
    largest: float = 4.0,
) -> tuple[Rule, ...]:
    """The rules that judge landmarks, in order: features, scale, distance, and roll if given."""
    rules = (order_rule(), scale_rule(smallest, largest), distance_rule(distance))
    return rules if roll is None else (*rules, roll_rule(roll))


_POINTS = ("landmarks",)
_UPPER = [i for part in ("right_brow", "left_brow", "right_eye", "left_eye") for i in PARTS[part]]
_LOWER = list(PARTS["mouth"])


def _share(batch: Batch) -> Floats:
    box = np.asarray(batch.faces.box, np.float64)
    longer = (box[:, 2:] - box[:, :2]).max(1)
    return np.asarray(longer / batch.frame_sizes_px.min(1), np.float64)


def _order(batch: Batch) -> Floats:
    height = _aligned(batch)[..., 1]
    return np.asarray(height[:, _LOWER].min(1) - height[:, _UPPER].max(1), np.float64)


def _scale(batch: Batch) -> Floats:
    with np.errstate(divide="ignore"):
        side = expansion_of("face") / scale_of(align51(batch.faces.landmarks))
    return np.asarray(side / batch.frame_sizes_px.min(1), np.float64)


def _distance(batch: Batch) -> Floats:
    inner = _aligned(batch)[:, -len(TEMPLATE51) :]
    return np.asarray(np.abs(inner - TEMPLATE51).mean((1, 2)), np.float64)


def _roll(batch: Batch) -> Floats:
    up = -invert(align51(batch.faces.landmarks))[:, :, 1]  # where the face's "up" points
    return np.arctan2(-up[:, 0], -up[:, 1])


def _aligned(batch: Batch) -> Floats:
    points = np.asarray(batch.faces.landmarks, np.float64)
    return apply(align51(points), points)


def _check_positive(title: str, value: float) -> None:
    if not value >= 0:
        raise OptionError(f"{title}: a limit must be 0 or more, got {value}")
