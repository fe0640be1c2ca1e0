"""Finding faces that are not upright by turning the pictures in which none was found."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.errors import OptionError
from featflow.extract.wrap import Wrapped
from featflow.flow.batch import Batch, FaceBatch, FrameBatch
from featflow.flow.checks import checked_faces
from featflow.flow.node import Node
from featflow.geometry.similarity import apply, invert
from featflow.geometry.warp import warp

Floats = NDArray[np.floating[Any]]
Angles = float | Sequence[float]

_FULL_TURN = 360.0


def rotation_angles(spec: Angles | str) -> tuple[float, ...]:
    """Angles to try after upright, in degrees.

    Args:
        spec: one number n for n, 2n, 3n, ... below 360; or the angles themselves. Text holds
            one number, or several with commas between them. 0 is tried anyway and is left out.

    Raises:
        OptionError: not a number, not finite, a step that is not between 0 and 360, or no
            angle.
    """
    try:
        parts = spec.split(",") if isinstance(spec, str) else spec
        angles = [float(part) for part in parts] if isinstance(parts, Sequence) else float(parts)
    except (TypeError, ValueError):
        raise OptionError(f"rotation angles are numbers of degrees, got {spec!r}") from None
    if isinstance(angles, list) and isinstance(spec, str) and len(angles) == 1:
        angles = angles[0]
    if isinstance(angles, float):
        if not 0 < angles < _FULL_TURN:
            raise OptionError(f"a rotation step lies between 0 and 360 degrees, got {angles:g}")
        count = math.ceil(_FULL_TURN / angles)
        return tuple(angles * i for i in range(1, count))
    turned = tuple(dict.fromkeys(angle for angle in angles if angle % _FULL_TURN))
    if not turned or not all(math.isfinite(angle) for angle in turned):
        raise OptionError(f"rotation needs at least one angle other than 0, got {spec!r}")
    return turned


@dataclass(frozen=True, slots=True)
class Turn:
    """A picture turned counter-clockwise, whole, on a canvas that just holds it.

    Attributes:
        matrix: (2, 3) from pixels of the picture to pixels of the canvas.
        size: (height, width) of the canvas.
        quarters: quarter turns, where the angle is a whole number of them; otherwise None.
    """

    matrix: NDArray[np.float64]
    size: tuple[int, int]
    quarters: int | None

    @classmethod
    def of(cls, size: tuple[int, int], angle: float) -> Turn:
        """Plan the turn of a picture of (height, width) by ``angle`` degrees."""
        height, width = size
        quarters = int(angle // 90) % 4 if angle % 90 == 0 else None
        c, s = _cos_sin(angle, quarters)
        linear = np.array([[c, s], [-s, c]])  # y points down: counter-clockwise as seen
        corners = np.array([[0, 0], [width, 0], [width, height], [0, height]]) @ linear.T
        extent = np.ptp(corners, axis=0)
        canvas = np.ceil(extent - 1e-9).astype(int)
        shift = canvas / 2 - linear @ [width / 2, height / 2]
        matrix = np.concatenate([linear, shift[:, None]], 1)
        return cls(matrix, (int(canvas[1]), int(canvas[0])), quarters)

    def image(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The turned picture; black beyond its edges, and exact for quarter turns."""
        if self.quarters is not None:
            return np.ascontiguousarray(np.rot90(image, self.quarters))
        return warp(image, self.matrix, self.size)


class RotationSearch(Wrapped):
    """A detector that looks again, with the picture turned, where it found nobody.

    Each angle is tried in turn, only on frames that still have no face above the score that
    the run asks for. Boxes come back as the upright box around the turned one; points come
    back exactly, in their order on the face: the first eye is the subject's right one.

    Args:
        node: finds faces.
        angles: degrees counter-clockwise by which the picture is turned, see
            :func:`rotation_angles`. A head that lies tilted clockwise by an angle is upright
            in a picture turned by it.

    Raises:
        OptionError: the node does not find faces, or gives fields that cannot be turned back.
    """

    def __init__(self, node: Node, angles: Angles | str) -> None:
        super().__init__(node, "rotate")
        if node.unit != "frame":
            raise OptionError(f"rotation search wraps a node that finds faces; {node.id} does not")
        unknown = sorted(set(node.provides) - _TURNED_BACK.keys() - _UNTURNED)
        if unknown:
            raise OptionError(f"rotation search cannot turn back {unknown} of {node.id}")
        self.angles = rotation_angles(angles)

    def pre_process(self, batch: Batch) -> tuple[Batch, Any]:
        """The batch, and what the detector makes of it upright."""
        return batch, self.node.pre_process(batch)

    def process(self, inputs: tuple[Batch, Any]) -> FaceBatch:
        """Faces of all frames; whether a frame needs another look shows only here."""
        batch, upright = inputs
        found = [self._wanted(batch, self.node.post_process(batch, self.node.process(upright)))]
        for angle in self.angles:
            seen = np.concatenate([faces.frame_uid for faces in found])
            left = np.flatnonzero(~np.isin(batch.frames.uids, seen))
            if not len(left):
                break
            found.append(self._look(batch, left, angle))
        faces = FaceBatch.concat(found)
        return faces[np.argsort(faces.frame_uid, kind="stable")]

    def post_process(self, batch: Batch, outputs: FaceBatch) -> FaceBatch:
        """The faces."""
        return outputs

    def _look(self, batch: Batch, rows: NDArray[np.int64], angle: float) -> FaceBatch:
        """Faces of some frames, found in their turned pictures."""
        frames = batch.frames.take(rows)
        turns = [Turn.of(image.shape[:2], angle) for image in frames.images]
        canvas = replace(
            frames,
            images=[turn.image(image) for turn, image in zip(turns, frames.images, strict=True)],
            sizes_px=np.array([turn.size for turn in turns], np.int64),
            scales=np.ones(len(turns)),
        )
        turned = Batch(canvas, FaceBatch.empty(()), batch.min_score)
        raw = self.node.post_process(turned, self.node.process(self.node.pre_process(turned)))
        faces = self._wanted(turned, raw)
        at = np.searchsorted(frames.uids, faces.frame_uid)
        back = _to_original(frames, turns)[at]
        carried = {
            name: _TURNED_BACK[name](back, values).astype(values.dtype)
            for name, values in faces.fields.items()
            if name in _TURNED_BACK
        }
        return faces.updated(carried)

    def _wanted(self, batch: Batch, result: Any) -> FaceBatch:
        """Faces that the run will keep; a weaker one must not end the search."""
        faces = checked_faces(self.node, batch, result)
        return faces[np.flatnonzero(faces.score >= batch.min_score)]


def _to_original(frames: FrameBatch, turns: Sequence[Turn]) -> NDArray[np.float64]:
    """Maps (F, 2, 3) from the canvas of each frame to its original pixels."""
    back = np.stack([invert(turn.matrix) for turn in turns])
    work = np.array([image.shape[1::-1] for image in frames.images], np.float64)
    return back * (frames.sizes_px[:, ::-1] / work)[:, :, None]


def _boxes_back(back: Floats, boxes: Floats) -> Floats:
    corners = apply(back, boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2))
    return np.concatenate([corners.min(1), corners.max(1)], 1)


_TURNED_BACK: dict[str, Callable[[Floats, Floats], Floats]] = {
    "box": _boxes_back,
    "points5": apply,
    "landmarks": apply,
}
_UNTURNED = frozenset({"score", "landmark_score"})


def _cos_sin(angle: float, quarters: int | None) -> tuple[float, float]:
    if quarters is not None:  # exact, where the cosine of pi / 2 is not
        return ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[quarters]
    return math.cos(math.radians(angle)), math.sin(math.radians(angle))
