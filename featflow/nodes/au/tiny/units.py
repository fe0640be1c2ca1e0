"""What each action unit is derived from: the shapes of a face model that stand for it.

The same rules read the blendshapes of a photograph's teacher and the modes of the morphable face,
so a unit means the same in both. FACS: Ekman, Friesen and Hager 2002.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from featflow.fex.schema import ACTION_UNITS

if TYPE_CHECKING:
    from featflow.datasets.labelled import LabelledFaces

Floats = NDArray[np.floating[Any]]

UNITS: tuple[str, ...] = tuple(f"AU{number:02d}" for number in ACTION_UNITS)

Reduce = Literal["mean", "max"]
_REDUCE: Mapping[Reduce, Callable[..., Any]] = MappingProxyType({"mean": np.mean, "max": np.max})


@dataclass(frozen=True, slots=True)
class Rule:
    """How a unit follows from shapes.

    Attributes:
        shapes: names without a side.
        sides: how the left and right half are joined: the mouth often moves on one side alone,
            and a unit is as strong as on its stronger side; brows and lids are averaged, for a
            wink does not close the eyes.
        join: how several shapes are joined.
    """

    shapes: tuple[str, ...]
    sides: Reduce = "mean"
    join: Reduce = "mean"


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "AU01": Rule(("browInnerUp",)),
        "AU02": Rule(("browOuterUp",)),
        "AU04": Rule(("browDown",)),
        "AU05": Rule(("eyeWide",)),
        "AU06": Rule(("cheekRaiser", "cheekSquint"), join="max"),
        "AU07": Rule(("eyeSquint",)),
        "AU09": Rule(("noseSneer",)),
        "AU10": Rule(("mouthUpperUp",), sides="max"),
        "AU12": Rule(("mouthSmile",), sides="max"),
        "AU14": Rule(("mouthDimple",), sides="max"),
        "AU15": Rule(("mouthFrown",), sides="max"),
        "AU17": Rule(("mouthShrugLower",)),
        "AU20": Rule(("mouthStretch",), sides="max"),
        "AU23": Rule(("mouthPress", "mouthRollLower", "mouthRollUpper")),
        "AU24": Rule(("mouthPress",)),
        "AU25": Rule(("mouthLowerDown", "mouthUpperUp", "jawOpen"), sides="max", join="max"),
        "AU26": Rule(("jawOpen",)),
        "AU28": Rule(("mouthRollLower", "mouthRollUpper")),
        "AU43": Rule(("eyeBlink",)),
    }
)
"""Every unit but AU11 (nasolabial furrow), which no shape shows by itself."""

SILENT = ("AU06", "AU09", "AU11")
"""Units that the photographs' teacher does not show: its ``cheekSquint`` and ``noseSneer`` are 0
on every face."""

_SIDES = ("Left", "Right", "_L", "_R")


def units_from_shapes(names: Sequence[str], values: Floats) -> NDArray[np.float64]:
    """Action units of faces whose shapes are known.

    Args:
        names: S names, such as ``mouthSmileLeft``, ``mouthSmile_L`` or ``jawOpen``.
        values: (N, S) activations 0..1.

    Returns:
        (N, 20) in the order of :data:`UNITS`, 0..1; NaN for a unit none of whose shapes is named.
    """
    table = np.asarray(values, np.float64)
    columns: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        columns.setdefault(_without_side(name), []).append(index)
    units = np.full((len(table), len(UNITS)), np.nan)
    for unit, rule in RULES.items():
        sides = _REDUCE[rule.sides]
        parts = [sides(table[:, columns[s]], axis=1) for s in rule.shapes if s in columns]
        if parts:
            units[:, UNITS.index(unit)] = _REDUCE[rule.join](parts, axis=0)
    return units


def teacher_units(faces: LabelledFaces) -> NDArray[np.float32]:
    """Action units (N, 20) of photographs by the ``bs_*`` columns of their table."""
    names = [name for name in faces.table.columns if name.startswith("bs_")]
    values = faces.table.select(names).to_numpy()
    return units_from_shapes([n.removeprefix("bs_") for n in names], values).astype(np.float32)


def _without_side(name: str) -> str:
    for side in _SIDES:
        name = name.removesuffix(side)
    return name
