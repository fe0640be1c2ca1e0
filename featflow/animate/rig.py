"""The rig: where the face lies in the still, kept in a JSON file that people may edit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.animate.pose import INDEX
from featflow.errors import ArrayError, InputError, MissingInputError
from featflow.files import write_atomically
from featflow.geometry.landmarks import OUTER_EYE_CORNERS, interocular

Floats = NDArray[np.float64]

SCHEMA = "featflow-rig-1"
MIN_EYE_DISTANCE_PX = 16.0


@dataclass(frozen=True)
class Rig:
    """Landmarks of the still and, where learned, how they move.

    Attributes:
        landmarks: (68, 2) iBUG-68 points, continuous pixels of the still.
        size_px: (height, width) of the still.
        actions: pose name to (68, 2) movement of the landmarks at the value 1, in units of the
            outer eye distance, x to the image right along the eye line and y down; these
            replace the built-in movements of the same name.
        rest: pitch and yaw of the head in the still, radians; turns are relative to them.
    """

    landmarks: Floats
    size_px: tuple[int, int]
    actions: Mapping[str, Floats] = field(default_factory=dict)
    rest: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        points = np.array(self.landmarks, np.float64)
        if points.shape != (68, 2) or not np.isfinite(points).all():
            raise ArrayError("rig landmarks", "are not 68 finite x, y pairs", "see docs/animate.md")
        right, left = OUTER_EYE_CORNERS
        if points[left, 0] <= points[right, 0]:
            raise ArrayError(
                "rig landmarks",
                "have the character's left eye on the image left",
                "order them as iBUG-68: point 36 lies on the image left; turn the picture upright",
            )
        distance = float(interocular(points))
        if distance < MIN_EYE_DISTANCE_PX:
            raise ArrayError(
                "rig landmarks",
                f"have eyes {distance:.1f} pixels apart",
                f"use a picture in which they are at least {MIN_EYE_DISTANCE_PX:.0f} apart",
            )
        for name, movement in self.actions.items():
            _check_action(name, movement)
        if not np.abs(self.rest).max() < np.pi / 3:
            raise ArrayError("rig rest", f"is {self.rest}", "give pitch and yaw below 60 degrees")
        points.setflags(write=False)
        object.__setattr__(self, "landmarks", points)

    @property
    def eye_distance_px(self) -> float:
        """Distance of the outer eye corners, the unit of every movement."""
        return float(interocular(self.landmarks))

    def to_json(self) -> str:
        """Text that :meth:`from_json` turns back into the same rig, to the last bit."""
        return json.dumps(
            {
                "schema": SCHEMA,
                "size_px": list(self.size_px),
                "landmarks": self.landmarks.tolist(),
                "rest": list(self.rest),
                "actions": {n: np.asarray(a).tolist() for n, a in self.actions.items()},
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, text: str, source: str = "rig") -> Rig:
        """Read what :meth:`to_json` wrote, edited or not.

        Raises:
            InputError: not a rig; the message says what is missing.
        """
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(source, f"is not JSON: {error}") from error
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise InputError(source, f"is not a rig: no schema {SCHEMA!r}", "save one with Rig")
        unknown = content.keys() - {"schema", "size_px", "landmarks", "actions", "rest"}
        if unknown:
            raise InputError(source, f"has unknown entries {sorted(unknown)}", "remove them")
        try:
            height, width = (int(side) for side in content["size_px"])
            actions = {n: np.array(a, np.float64) for n, a in content.get("actions", {}).items()}
            pitch, yaw = (float(angle) for angle in content.get("rest", (0.0, 0.0)))
            points = np.array(content["landmarks"], np.float64)
            return cls(points, (height, width), actions, (pitch, yaw))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(source, f"is not a usable rig: {error}") from error

    def save(self, path: str | Path) -> None:
        """Write the rig as JSON, whole or not at all."""
        write_atomically(path, self.to_json().encode())

    @classmethod
    def load(cls, path: str | Path) -> Rig:
        """Read a rig from a JSON file."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise MissingInputError(str(path), "no such rig file") from error
        return cls.from_json(text, str(path))


def _check_action(name: str, movement: Any) -> None:
    if name not in INDEX:
        raise ArrayError("rig actions", f"name {name!r}, which is no pose parameter")
    values = np.asarray(movement, np.float64)
    if values.shape != (68, 2) or not np.isfinite(values).all():
        raise ArrayError("rig actions", f"{name} is not 68 finite x, y pairs")


@dataclass(frozen=True)
class FaceFrame:
    """Coordinates of the face: origin between the eyes, x along the eye line, y down.

    Attributes:
        origin: (2,) midpoint of the outer eye corners, continuous pixels.
        axes: (2, 2) columns are the x and y axis.
        unit_px: pixels per unit, the distance of the outer eye corners.
    """

    origin: Floats
    axes: Floats
    unit_px: float

    @classmethod
    def of(cls, landmarks: Floats) -> FaceFrame:
        """Frame of (68, 2) landmarks."""
        right, left = (landmarks[i] for i in OUTER_EYE_CORNERS)
        along = left - right
        unit = float(np.linalg.norm(along))
        along = along / unit
        axes = np.stack([along, np.array([-along[1], along[0]])], 1)
        return cls((right + left) / 2, axes, unit)

    def from_pixels(self, points: Floats) -> Floats:
        """Face coordinates of points (..., 2) in continuous pixels."""
        return np.asarray((points - self.origin) @ self.axes / self.unit_px, np.float64)

    def vectors_to_pixels(self, vectors: Floats) -> Floats:
        """Pixel displacements of (..., 2) displacements in face units."""
        return np.asarray(vectors @ self.axes.T * self.unit_px, np.float64)
