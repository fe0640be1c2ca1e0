"""Parts of the labelled faces on which a figure is reported apart, to see whom it fails."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from featflow.datasets.labelled import Image, LabelledFaces
from featflow.geometry.landmarks import interocular
from featflow.geometry.rotation import angles_from_rotation

SMALL_FACE_PX = 60
"""Faces whose outer eye corners lie closer than this are small."""

_GREY_STEP = 4
"""A picture is grey if its channels differ by less than this on average."""


def fairness_slices(faces: LabelledFaces) -> dict[str, NDArray[np.bool_]]:
    """Masks (N,) by source, colour, yaw, size, and apparent age and sex.

    Age and sex are a network's guess and serve to compare groups, not to describe a person.
    """
    table = faces.table
    yaw = np.degrees(np.abs(angles_from_rotation(faces.rotations)[:, 2]))
    size = interocular(faces.landmarks)
    age, male = table["age"].to_numpy(), table["male_prob"].to_numpy()
    grey = np.array([is_grey(image) for image in faces.read_all()], bool)
    sources = table["source"].to_numpy()
    return {
        **{f"source {name}": sources == name for name in sorted(set(sources.tolist()))},
        "grey": grey,
        "colour": ~grey,
        "yaw under 20": yaw < 20,
        "yaw over 20": yaw >= 20,
        f"eyes under {SMALL_FACE_PX} px apart": size < SMALL_FACE_PX,
        f"eyes over {SMALL_FACE_PX} px apart": size >= SMALL_FACE_PX,
        "apparent age under 30": age < 30,
        "apparent age 30 to 50": (age >= 30) & (age < 50),
        "apparent age over 50": age >= 50,
        "looks male": male >= 0.5,
        "looks female": male < 0.5,
    }


def is_grey(image: Image) -> bool:
    """Whether a picture (H, W, 3) has no colour; JPEG leaves a trace of some."""
    wide = image.astype(np.int16)
    return bool(np.ptp(wide, axis=2).mean() < _GREY_STEP)
