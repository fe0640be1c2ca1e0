"""Slices of the labelled faces in which a figure is told apart, to see whom a node serves less."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.datasets.labelled import LabelledFaces
from featflow.geometry.rotation import angles_from_rotation

Rows = NDArray[np.bool_]

YAW_DEG = 20.0
LARGE_FACE_PX = 120.0
"""Longer side of the box; near the median of the photographs."""
AGES = (30.0, 50.0)
"""Apparent age in years: below the first, between, from the second on."""
COLOURED = 6.0
"""Mean difference of a pixel's channels, in grey levels, from which a picture is in colour."""


def fairness_slices(faces: LabelledFaces) -> dict[str, Rows]:
    """Rows (N,) of each slice: source, colour, yaw, size of the face, apparent age and sex.

    Apparent age and sex are a network's guess (columns ``age`` and ``male_prob``): good enough to
    compare large groups, and not to be taken for anything else.
    """
    table = faces.table
    source = table["source"].to_numpy()
    yaw = np.degrees(np.abs(angles_from_rotation(faces.rotations)[:, 2]))
    sides = faces.boxes[:, 2:] - faces.boxes[:, :2]
    age, male = (table[name].to_numpy().astype(float) for name in ("age", "male_prob"))
    coloured = np.array([is_coloured(faces.read(row)) for row in range(len(faces))], bool)
    return {
        **{name: source == name for name in sorted(set(source.tolist()))},
        "grey": ~coloured,
        "colour": coloured,
        f"yaw under {YAW_DEG:.0f}": yaw < YAW_DEG,
        f"yaw over {YAW_DEG:.0f}": yaw >= YAW_DEG,
        f"face under {LARGE_FACE_PX:.0f} px": sides.max(1) < LARGE_FACE_PX,
        f"face over {LARGE_FACE_PX:.0f} px": sides.max(1) >= LARGE_FACE_PX,
        f"looks under {AGES[0]:.0f}": age < AGES[0],
        f"looks {AGES[0]:.0f} to {AGES[1]:.0f}": (age >= AGES[0]) & (age < AGES[1]),
        f"looks over {AGES[1]:.0f}": age >= AGES[1],
        "looks male": male >= 0.5,
        "looks female": male < 0.5,
    }


def is_coloured(image: NDArray[np.integer[Any]]) -> bool:
    """Whether a picture (H, W, 3) has colour: its channels differ by more than JPEG's rounding."""
    channels = image.astype(np.int16)
    return bool((channels.max(-1) - channels.min(-1)).mean() >= COLOURED)
