"""From the 52 blendshapes of ARKit (and MediaPipe) to poses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.animate.pose import HEAD_DEGREES, INDEX, Pose, clip_poses
from featflow.animate.retarget import Brow, ramp
from featflow.errors import SchemaError

Floats = NDArray[np.float64]

# What each vowel looks like: jaw open, lower lip down, funnel, pucker.
_VOWELS: dict[str, tuple[float, float, float, float]] = {
    "mouth_aaa": (1.0, 1.0, 0.0, 0.0),
    "mouth_iii": (0.0, 1.0, 0.0, 0.0),
    "mouth_uuu": (0.5, 0.3, 0.25, 0.75),
    "mouth_ooo": (1.0, 0.5, 0.5, 0.4),
}
_SPARSENESS = 0.01
_NEEDED = ("jawOpen", "eyeBlinkLeft", "eyeBlinkRight", "mouthSmileLeft", "mouthSmileRight")


def blendshape_poses(
    shapes: Mapping[str, Any], head: Mapping[str, Any] | None = None, brow: Brow = "angry"
) -> Pose:
    """Poses of blendshape activations.

    Args:
        shapes: name (``jawOpen``, ``eyeBlinkLeft``, ...; a prefix ``bs_`` is allowed) to (T,)
            activations 0..1; names that are missing count as 0.
        head: ``Pitch``, ``Yaw`` and ``Roll`` in radians, (T,) each.
        brow: what a drawn-down brow becomes.

    Returns:
        (T, 45) poses within the ranges. "Left" is the subject's left throughout.

    Raises:
        SchemaError: the shapes that no pose can do without are missing.
    """
    table = {n.removeprefix("bs_"): np.atleast_1d(np.asarray(v, float)) for n, v in shapes.items()}
    missing = [name for name in _NEEDED if name not in table]
    if missing:
        raise SchemaError(f"blendshapes {', '.join(missing)} are missing")
    nothing = np.zeros(len(table["jawOpen"]))

    def of(name: str) -> Floats:
        return np.asarray(table.get(name, nothing), np.float64)

    values = np.zeros((len(nothing), 45))
    smile = (of("mouthSmileLeft") + of("mouthSmileRight")) / 2 + of("mouthShrugUpper")
    happy = ramp(smile, 0.4, 0.6)
    for side in ("Left", "Right"):
        for stem, column in _one_side(of, side, smile, happy, brow).items():
            values[:, INDEX[f"{stem}_{side.lower()}"]] = column
    inwards = of("eyeLookInLeft") - of("eyeLookOutLeft")
    inwards += of("eyeLookOutRight") - of("eyeLookInRight")
    upwards = of("eyeLookUpLeft") + of("eyeLookUpRight")
    upwards -= of("eyeLookDownLeft") + of("eyeLookDownRight")
    values[:, INDEX["iris_rotation_y"]] = inwards / 2 / 0.75
    values[:, INDEX["iris_rotation_x"]] = upwards / 2 / 0.75
    for name, column in _vowels(of).items():
        values[:, INDEX[name]] = column
    for name, angle in zip(("head_x", "head_y", "neck_z"), ("Pitch", "Yaw", "Roll"), strict=True):
        if head is not None:
            values[:, INDEX[name]] = np.degrees(np.asarray(head[angle])) / HEAD_DEGREES[name]
    return clip_poses(values)


def _one_side(of: Any, side: str, smile: Floats, happy: Floats, brow: Brow) -> dict[str, Floats]:
    blink = np.clip(of(f"eyeBlink{side}") / 0.8, 0, 1)
    frown = np.clip((of("mouthFrownLeft") + of("mouthFrownRight")) / 0.6, 0, 1)
    return {
        "eyebrow_raised": np.clip(of("browInnerUp") + of(f"browOuterUp{side}"), 0, 1),
        f"eyebrow_{brow}": (1 - happy) * np.clip(of(f"browDown{side}") / 0.4, 0, 1),
        "eyebrow_happy": np.clip(smile, 0, 1) * happy,
        "eye_surprised": np.clip(of(f"eyeWide{side}") / 0.5, 0, 1),
        "eye_wink": (1 - happy) * blink,
        "eye_happy_wink": happy * blink,
        "eye_raised_lower_eyelid": ramp(of(f"cheekSquint{side}"), 0.1, 0.7),
        "mouth_raised_corner": np.clip(smile, 0, 1),
        "mouth_lowered_corner": frown * (1 - _openness(of)),
    }


def _openness(of: Any) -> Floats:
    return ramp(of("jawOpen"), 0.1, 0.4)


def _vowels(of: Any) -> dict[str, Floats]:
    """Weights 0..1 of the vowels whose sum looks most like the mouth, few rather than many."""
    lower = (of("mouthLowerDownLeft") + of("mouthLowerDownRight")) / 2
    wanted = np.stack([_openness(of), lower, of("mouthFunnel"), of("mouthPucker")], 1)
    looks = np.array(list(_VOWELS.values()))
    weights = np.zeros((len(wanted), len(looks)))
    # Coordinate descent on a convex problem of four unknowns: each step is exact.
    for _ in range(200):
        for k, look in enumerate(looks):
            rest = wanted - weights @ looks + weights[:, k : k + 1] * look
            weights[:, k] = np.clip((rest @ look - _SPARSENESS / 2) / (look @ look), 0, 1)
    vowels = dict(zip(_VOWELS, weights.T, strict=True))
    rounded = np.minimum(vowels["mouth_uuu"] + vowels["mouth_ooo"], 1.0)
    share = ramp(of("mouthFunnel"), 0.25, 0.5)
    vowels["mouth_uuu"], vowels["mouth_ooo"] = rounded * (1 - share), rounded * share
    return vowels
