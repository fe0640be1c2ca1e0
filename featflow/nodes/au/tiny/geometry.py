"""Exact training data: a morphable face that makes known movements before a camera."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.nodes.au.tiny.node import aligned_points
from featflow.nodes.au.tiny.units import units_from_shapes
from featflow.nodes.pose.mlp.data import (
    FaceShapes,
    LandmarkErrors,
    Ranges,
    project,
    random_positions,
    random_rotations,
)

Rng = np.random.Generator
Floats = NDArray[np.floating[Any]]

RANGES = Ranges(
    wide=0.15, limits_deg=(30.0, 40.0, 50.0), spread_deg=(10.0, 8.0, 18.0), noise=0.03, active=0.2
)
"""Heads as in photographs: mostly near the front."""

EYES_CM = 8.9
"""Distance of the outer eye corners of the mean face."""

_NEVER = frozenset({"mouthClose"})
"""Shapes that take back what another does, so that its activation says nothing of the face."""


@dataclass(frozen=True)
class MovingFaces:
    """Draws aligned points of random people whose action units are known.

    Attributes:
        shapes: the morphable face.
        ranges: what people, poses, cameras and landmark errors are drawn from.
    """

    shapes: FaceShapes
    ranges: Ranges = RANGES

    @classmethod
    def open(cls, folder: str | Path) -> MovingFaces:
        """Read the shapes from a folder, see :meth:`FaceShapes.open`."""
        return cls(FaceShapes.open(folder))

    def draw(self, rng: Rng, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Aligned points (count, 68, 2) with errors, and action units (count, 20).

        A unit that no shape shows is NaN.
        """
        strength = self.strengths(rng, count)
        people = rng.normal(0.0, self.ranges.identity, (count, len(self.shapes.identity)))
        offset = np.where(rng.random(count) < self.ranges.mesh_like, 1.0, rng.random(count))
        points = self.seen(rng, self.faces(people, strength, offset))
        return aligned_points(points), self.units(strength)

    def strengths(self, rng: Rng, count: int) -> NDArray[np.float64]:
        """(count, E) activations, 0..1: few at once, nearly the same on both sides."""
        groups = int(self.shapes.groups.max()) + 1
        on = rng.random((count, groups)) < self.ranges.active
        strength = (on * rng.beta(1.2, 1.2, (count, groups)))[:, self.shapes.groups]
        strength *= rng.uniform(0.7, 1.0, strength.shape)
        strength[:, [_bare(name) in _NEVER for name in self.shapes.names]] = 0.0
        return np.asarray(strength, np.float64)

    def faces(
        self,
        people: NDArray[np.float64],
        strength: NDArray[np.float64],
        offset: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """(N, 68, 3) centimetres, of identity (N, K), expression (N, E) and mesh offset (N,)."""
        shapes = self.shapes
        moved = people @ shapes.identity.reshape(len(shapes.identity), -1)
        moved = moved + strength @ shapes.expression.reshape(len(shapes.expression), -1)
        still = shapes.neutral + offset[:, None, None] * shapes.mesh_offset
        return np.asarray(still + moved.reshape(-1, 68, 3), np.float64)

    def seen(self, rng: Rng, faces: Floats) -> NDArray[np.float64]:
        """Landmarks (N, 68, 2) in pixels, with the errors of a landmark network."""
        count = len(faces)
        focal = rng.uniform(500.0, 2000.0, count)
        heads = project(
            faces,
            random_rotations(self.ranges, rng, count),
            random_positions(self.ranges, rng, count),
            focal,
        )
        errors = LandmarkErrors(self.shapes.neutral, self.ranges)
        return np.asarray(heads.points + errors.draw(heads.scale * EYES_CM, rng), np.float64)

    def units(self, strength: Floats) -> NDArray[np.float32]:
        """Action units (N, 20) of activations (N, E)."""
        return units_from_shapes(self.shapes.names, strength).astype(np.float32)


def _bare(name: str) -> str:
    return name.removesuffix("_L").removesuffix("_R")
