"""Learning from a user's own tables how a face moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.animate.rig import FaceFrame, Rig
from featflow.animate.tracks import Track, one_person
from featflow.errors import SchemaError
from featflow.geometry.landmarks import MIRROR_68
from featflow.geometry.similarity import apply, umeyama

Floats = NDArray[np.float64]

MIN_ROWS = 30
_STEADY = [27, 28, 29, 36, 39, 42, 45]
_NUISANCES = ("Pitch", "Yaw", "Roll")
_RIGHT = np.array(
    [*range(8), *range(17, 22), 31, 32, *range(36, 42), 48, 49, 50, 58, 59, 60, 61, 67]
)
_BROWS = np.arange(17, 27)
_LOWER = np.array([*range(3, 14), *range(48, 68)])

# Which action units make a pose parameter, and which points it may move.
_ACTIONS: dict[str, tuple[tuple[str, ...], NDArray[np.int64], bool]] = {
    "eyebrow_raised": (("AU01", "AU02"), _BROWS, True),
    "eyebrow_angry": (("AU04",), _BROWS, True),
    "mouth_raised_corner": (("AU12",), _LOWER, True),
    "mouth_lowered_corner": (("AU15",), _LOWER, True),
    "mouth_smirk": (("AU14",), _LOWER, False),
}


@dataclass(frozen=True)
class RigFit:
    """A linear model of landmark movement.

    Attributes:
        names: action units, one a row of ``movement``.
        movement: (A, 68, 2) by each at the value 1, in units of the outer eye distance, x along
            the eye line, y down.
        rest: (68, 2) mean face where all are 0.
        r2: part of the variance of the landmarks that the model explains in its own rows.
    """

    names: tuple[str, ...]
    movement: Floats
    rest: Floats
    r2: float


def fit_movement(table: Any, person: str | None = None, ridge: float = 1e-3) -> RigFit:
    """Ridge regression of aligned landmarks on action units, head angles taken out.

    Args:
        table: rows with landmarks and action units of one person.
        person: whose rows, see :func:`~featflow.animate.tracks.one_person`.
        ridge: weight of the penalty, in parts of the action units' mean variance.

    Raises:
        SchemaError: no landmarks or action units, or fewer than 30 usable rows.
    """
    rows = one_person(table, person)
    track = Track(rows)
    names = tuple(sorted(n for n in rows.columns if str(n)[:2] == "AU" and str(n)[2:].isdigit()))
    if not names or not track.has("x_0", "y_67"):
        raise SchemaError("a rig is learned from landmarks (x_0, ...) and action units (AU01, ...)")
    points = track.landmarks()
    causes = np.stack([track.column(name) for name in (*names, *_NUISANCES)], 1)
    causes[:, len(names) :] = np.nan_to_num(causes[:, len(names) :])
    usable = np.isfinite(points).all((1, 2)) & np.isfinite(causes).all(1)
    if usable.sum() < MIN_ROWS:
        raise SchemaError(f"{int(usable.sum())} rows are usable, a rig needs {MIN_ROWS}")
    faces = _aligned(points[usable])
    causes = causes[usable]
    means = causes.mean(0)
    centred, shifts = causes - means, (faces - faces.mean(0)).reshape(len(faces), -1)
    spread = centred.T @ centred
    penalty = ridge * np.trace(spread) / len(spread) * np.eye(len(spread))
    solution = np.linalg.solve(spread + penalty, centred.T @ shifts)
    residual = shifts - centred @ solution
    r2 = 1 - float((residual**2).sum() / max((shifts**2).sum(), 1e-12))
    movement = solution[: len(names)].reshape(-1, 68, 2)
    rest = faces.mean(0) - (means @ solution).reshape(68, 2)
    return RigFit(names, movement, rest, r2)


def _aligned(points: Floats) -> Floats:
    """Faces (T, 68, 2) in face coordinates, moved onto each other by points that hold still."""
    reference = FaceFrame.of(np.median(points, 0))
    target = np.median(points, 0)[_STEADY]
    carried = apply(umeyama(points[:, _STEADY], target), points)
    return reference.from_pixels(carried)


def fit_rig(table: Any, rig: Rig, person: str | None = None, ridge: float = 1e-3) -> Rig:
    """A rig whose brows and mouth corners move as they do in a table.

    Args:
        table: rows with landmarks and action units of one person.
        rig: landmarks of the still.
        person: whose rows.
        ridge: see :func:`fit_movement`.

    Returns:
        ``rig`` with learned actions for those pose parameters whose action units the table has.
    """
    fit = fit_movement(table, person, ridge)
    actions = dict(rig.actions)
    for stem, (units, points, sided) in _ACTIONS.items():
        known = [fit.names.index(unit) for unit in units if unit in fit.names]
        if not known:
            continue
        movement = np.zeros((68, 2))
        movement[points] = fit.movement[known].sum(0)[points]
        if sided:
            actions[f"{stem}_right"] = _only(movement, _RIGHT)
            actions[f"{stem}_left"] = _only(movement, MIRROR_68[_RIGHT])
        else:
            actions[stem] = movement
    return Rig(rig.landmarks, rig.size_px, actions, rig.rest)


def _only(movement: Floats, points: NDArray[np.int64]) -> Floats:
    kept = np.zeros_like(movement)
    kept[points] = movement[points]
    return kept
