"""Exact training data for the pose network: a morphable face seen by a pinhole camera.

Head coordinates are centimetres, x to the subject's left, y up, z forward. Zero rotation and
origin are those of the MediaPipe canonical face, onto which the morphable face is laid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.errors import MissingInputError, RecipeError
from featflow.geometry.landmarks import PARTS
from featflow.geometry.rotation import rotation_from_angles

Floats = NDArray[np.floating[Any]]
Rng = np.random.Generator

# fmt: off
MESH_POINTS: NDArray[np.int64] = np.array([
    127, 234, 132, 58, 172, 136, 150, 176, 152, 400, 379, 365, 397, 288, 361, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
    6, 195, 5, 1, 99, 97, 2, 326, 328,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 40, 37, 0, 267, 270, 291, 405, 314, 17, 84, 181,
    78, 82, 13, 312, 308, 317, 14, 87,
])
# fmt: on
"""Vertex of the MediaPipe mesh that stands for each of the 68 points."""


@dataclass(frozen=True)
class FaceShapes:
    """A morphable face of 68 points.

    Attributes:
        neutral: (68, 3) mean face, centimetres.
        mesh_offset: (68, 3) from where the morphable face has each point to where the mesh,
            from which the landmark node's labels come, has it.
        identity: (K, 68, 3) displacement for one standard deviation.
        expression: (E, 68, 3) displacement at full activation.
        groups: for each expression a group; the left and right half of a movement share one.
        version: short description of where the shapes come from.
        names: of the expressions; ``_L`` and ``_R`` end those of one side.
    """

    neutral: NDArray[np.float64]
    mesh_offset: NDArray[np.float64]
    identity: NDArray[np.float64]
    expression: NDArray[np.float64]
    groups: NDArray[np.int64]
    version: str = "ict_face68, canonical_face_468"
    names: tuple[str, ...] = ()

    @classmethod
    def open(cls, folder: str | Path) -> FaceShapes:
        """Read ``ict_face68.npz`` and lay it on ``canonical_face_468.npy``."""
        folder = Path(folder)
        shapes, canonical = folder / "ict_face68.npz", folder / "canonical_face_468.npy"
        for path in (shapes, canonical):
            if not path.is_file():
                raise MissingInputError(
                    str(path), "no such file", "set [data] geometry to the folder of face shapes"
                )
        mesh = np.load(canonical)[MESH_POINTS].astype(np.float64)
        with np.load(shapes) as ict:
            names = tuple(str(name) for name in ict["expression_names"])
            movements = [name.removesuffix("_L").removesuffix("_R") for name in names]
            neutral = ict["neutral"].astype(np.float64)
            turn, shift = rigid(neutral, mesh, range(PARTS["jaw"].stop, 68))
            laid = neutral @ turn.T + shift
            return cls(
                neutral=laid,
                mesh_offset=mesh - laid,
                identity=ict["identity"].astype(np.float64) @ turn.T,
                expression=ict["expression"].astype(np.float64) @ turn.T,
                groups=np.unique(movements, return_inverse=True)[1].astype(np.int64),
                names=names,
            )


def rigid(
    source: Floats, target: Floats, rows: range
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rotation and shift that lay ``source`` (P, 3) on ``target`` by some of their points.

    Without the jaw for faces: its points lie on the contour, not on the same skin.
    """
    a, b = source[list(rows)], target[list(rows)]
    u, _, vt = np.linalg.svd((b - b.mean(0)).T @ (a - a.mean(0)))
    turn = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    return turn, b.mean(0) - turn @ a.mean(0)


@dataclass(frozen=True)
class Ranges:
    """What the random faces, cameras and landmark errors are drawn from.

    Attributes:
        wide: part of the heads that are turned uniformly up to ``limits_deg``; the others are
            normal about the front with ``spread_deg``. Both are pitch, roll, yaw in degrees.
        distance_cm: nearest and farthest camera, uniform in the logarithm.
        off_axis_deg: largest angle between the head and the optical axis.
        identity: standard deviation of identity coefficients.
        active: chance that an expression is active in a face.
        mesh_like: part of the faces whose points lie exactly where the mesh has them; in the
            others the offset is taken by a random part.
        noise: largest standard deviation of landmark errors over the inter-ocular distance.
        jaw_noise: how much larger the errors of the jaw are.
        outliers: chance that a face has a few points far off.
    """

    wide: float = 0.4
    limits_deg: tuple[float, float, float] = (45.0, 70.0, 75.0)
    spread_deg: tuple[float, float, float] = (13.0, 15.0, 22.0)
    distance_cm: tuple[float, float] = (25.0, 250.0)
    off_axis_deg: float = 25.0
    identity: float = 0.8
    active: float = 0.12
    mesh_like: float = 0.7
    noise: float = 0.045
    jaw_noise: float = 1.6
    outliers: float = 0.04

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> Ranges:
        """From a recipe's keys.

        Raises:
            RecipeError: a key is unknown.
        """
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(table) - known):
            raise RecipeError(f"[data] has unknown {unknown}; known: {sorted(known)}")
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in table.items()
        }
        return cls(**values)


@dataclass(frozen=True)
class Heads:
    """N random heads as the camera sees them.

    Attributes:
        points: (N, 68, 2) without errors, pixels, y down; the principal point is the origin.
        rotation: (N, 3, 3) as seen along the line of sight.
        scale: (N,) pixels per centimetre at the head's origin.
        origin: (N, 2) where the head's origin is seen.
        translation: (N, 3) X right, Y up, Z distance of the head's origin in centimetres.
        focal: (N,) focal length in pixels.
    """

    points: Floats
    rotation: Floats
    scale: Floats
    origin: Floats
    translation: Floats
    focal: Floats


def random_heads(shapes: FaceShapes, ranges: Ranges, rng: Rng, count: int) -> Heads:
    """Faces of random people, expressions and poses before random cameras."""
    return project(
        random_shapes(shapes, ranges, rng, count),
        random_rotations(ranges, rng, count),
        random_positions(ranges, rng, count),
        focal=rng.uniform(500.0, 2000.0, count),
    )


def random_shapes(shapes: FaceShapes, ranges: Ranges, rng: Rng, count: int) -> NDArray[np.float64]:
    """(count, 68, 3) faces in head coordinates."""
    people = rng.normal(0.0, ranges.identity, (count, len(shapes.identity)))
    offset = np.where(rng.random(count) < ranges.mesh_like, 1.0, rng.random(count))
    groups = shapes.groups.max() + 1
    on = rng.random((count, groups)) < ranges.active
    strength = (on * rng.beta(1.2, 1.8, (count, groups)))[:, shapes.groups]
    strength *= rng.uniform(0.6, 1.0, strength.shape)  # faces are never quite symmetric
    moved = people @ shapes.identity.reshape(len(shapes.identity), -1)
    moved += strength @ shapes.expression.reshape(len(shapes.expression), -1)
    faces = shapes.neutral + offset[:, None, None] * shapes.mesh_offset
    return np.asarray(faces + moved.reshape(count, 68, 3), np.float64)


def random_rotations(ranges: Ranges, rng: Rng, count: int) -> NDArray[np.float64]:
    """(count, 3, 3) head rotations as seen, most near the front, all within the limits."""
    limits, spread = np.radians(ranges.limits_deg), np.radians(ranges.spread_deg)
    frontal = np.clip(rng.normal(0.0, spread, (count, 3)), -limits, limits)
    turned = rng.uniform(-limits, limits, (count, 3))
    angles = np.where(rng.random((count, 1)) < ranges.wide, turned, frontal)
    return rotation_from_angles(*angles.T)


def random_positions(ranges: Ranges, rng: Rng, count: int) -> NDArray[np.float64]:
    """(count, 3) X right, Y up, Z distance in centimetres."""
    nearest, farthest = np.log(ranges.distance_cm)
    distance = np.exp(rng.uniform(nearest, farthest, count))
    aside = np.tan(np.radians(ranges.off_axis_deg) * np.sqrt(rng.random(count)))
    around = rng.uniform(0.0, 2 * np.pi, count)
    unit = np.stack([aside * np.cos(around), aside * np.sin(around), np.ones(count)], -1)
    return np.asarray(unit * distance[:, None], np.float64)


def project(faces: Floats, seen: Floats, translation: Floats, focal: Floats) -> Heads:
    """Project faces (N, 68, 3) with rotations as seen and positions (N, 3) to pixels."""
    rotation = line_of_sight(translation) @ seen
    camera = np.einsum("nij,npj->npi", rotation, faces) + (translation * [1, 1, -1])[:, None]
    plane = camera[..., :2] / -camera[..., 2:] * [1.0, -1.0]
    scale = focal / translation[:, 2]
    origin = translation[:, :2] * [1.0, -1.0] * scale[:, None]
    return Heads(plane * focal[:, None, None], seen, scale, origin, translation, focal)


def line_of_sight(translation: Floats) -> NDArray[np.float64]:
    """Rotations (N, 3, 3) that carry the optical axis to the line of sight to each head.

    A rotation in the camera frame is this times the rotation as seen.
    """
    back = -translation * [1.0, 1.0, -1.0]
    back = back / np.linalg.norm(back, axis=-1, keepdims=True)
    x, y, z = back.T
    # The smallest rotation from (0, 0, 1) to the unit vector towards the camera.
    factor = 1.0 / (1.0 + z)
    rows = [
        1 - x * x * factor,
        -x * y * factor,
        x,
        -x * y * factor,
        1 - y * y * factor,
        y,
        -x,
        -y,
        z,
    ]
    return np.stack(rows, -1).reshape(-1, 3, 3)


class LandmarkErrors:
    """Random landmark errors: partly shared by neighbours, larger on the jaw, a few outliers."""

    def __init__(self, neutral: Floats, ranges: Ranges) -> None:
        gaps = np.linalg.norm(neutral[:, None] - neutral[None], axis=-1)
        covariance = np.exp(-0.5 * (gaps / 2.0) ** 2) + 1e-6 * np.eye(68)
        self.spread = np.linalg.cholesky(covariance)
        self.ranges = ranges
        self.gain = np.ones(68)
        self.gain[: PARTS["jaw"].stop] = ranges.jaw_noise

    def draw(self, unit: Floats, rng: Rng) -> NDArray[np.float64]:
        """Errors (N, 68, 2) for faces whose inter-ocular distance in pixels is ``unit`` (N,)."""
        count = len(unit)
        level = rng.uniform(0.0, self.ranges.noise, (count, 1, 1))
        shared = self.spread @ rng.normal(size=(count, 68, 2))
        part = rng.uniform(0.3, 0.9, (count, 1, 1))
        mixed = np.sqrt(part) * shared + np.sqrt(1 - part) * rng.normal(size=(count, 68, 2))
        errors = mixed * level * self.gain[:, None]
        bad_face = rng.random((count, 1)) < self.ranges.outliers
        bad = bad_face & (rng.random((count, 68)) < 0.06)
        errors += bad[..., None] * rng.normal(0.0, 0.2, (count, 68, 2))
        return errors * unit[:, None, None]
