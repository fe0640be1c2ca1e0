"""Crop rules: how a face is placed in the square picture that a network sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from featflow.errors import OptionError
from featflow.geometry.centring import (
    EXTRACT_RATIOS,
    EYES,
    Centring,
    Eye,
    centred_matrices,
    expansion_of,
)
from featflow.geometry.landmarks import five_points
from featflow.geometry.similarity import umeyama
from featflow.geometry.warp import Outside

Floats = NDArray[np.floating[Any]]

FIVE_POINT_TEMPLATE: NDArray[np.float64] = (
    np.array(
        [
            [38.2946, 51.6963],
            [73.5318, 51.5014],
            [56.0252, 71.7366],
            [41.5493, 92.3655],
            [70.7299, 92.2041],
        ]
    )
    / 112.0
)
"""Eyes, nose tip and mouth corners (image left first) in a unit square, the alignment that
face recognition has used since SphereFace (Liu et al. 2017) and ArcFace (Deng et al. 2019)."""

FIVE_POINTS_IN_BOX: NDArray[np.float64] = np.array(
    [[0.275, 0.377], [0.725, 0.377], [0.500, 0.571], [0.310, 0.739], [0.690, 0.739]]
)
"""Where the five points of an upright face lie in its box (width and height 1): the mean over
14,888 faces of RetinaFace's points in RetinaFace's boxes, made symmetric."""


class FaceGeometry(Protocol):
    """What a crop rule needs to know of N faces, in original pixels."""

    @property
    def box(self) -> Floats:
        """(N, 4) x0, y0, x1, y1."""

    @property
    def points5(self) -> Floats:
        """(N, 5, 2); NaN where the detector gave none."""

    @property
    def landmarks(self) -> Floats:
        """(N, 68, 2); NaN where there are none."""


@dataclass(frozen=True, slots=True)
class CropRule:
    """How to cut faces out of a frame. Equal rules are cut once and shared by nodes.

    Attributes:
        size: side of the crop in pixels.
        anchor: ``"box"`` cuts around the detection; ``"points5"`` turns and scales the face so
            that its five points meet the template, falling back on the box where it has none;
            ``"landmarks5"`` does so with the five points of the 68 and ``"landmarks"`` with their
            brows, eyes, nose and mouth; both show nothing where the 68 are unknown.
        expansion: for a box, side of the crop over the box's (see ``side``); for points, how many
            template squares the crop spans (1 is the recognition crop, 1.5 shows the chin).
        square: for a box only: False stretches the box's own width and height to the square.
        shift_y: centre moved down by this part of the crop's side.
        outside: what lies beyond the frame.
        side: which length of a box a square crop follows; networks of several origins were
            trained on the shorter side or on the mean of both.
        centring: for ``"landmarks"`` only: what lies in the middle, see
            :mod:`featflow.geometry.centring`.
    """

    size: int
    anchor: Literal["box", "points5", "landmarks5", "landmarks"] = "box"
    expansion: float = 1.0
    square: bool = True
    shift_y: float = 0.0
    outside: Outside = "zero"
    side: Literal["longer", "shorter", "mean"] = "longer"
    centring: Centring | Eye = "legacy"

    @classmethod
    def centred(
        cls,
        size: int,
        centring: Centring,
        coverage: float = 1.0,
        outside: Outside = "zero",
        shift_y: float = 0.0,
    ) -> CropRule:
        """The rule of face extraction: by landmarks, with the padding of its centring.

        Args:
            size: side of the crop in pixels.
            centring: ``"legacy"``, ``"face"`` or ``"head"``.
            coverage: part of that crop's side that is wanted.
            outside: what lies beyond the frame.
            shift_y: centre moved down by this part of the crop's side.
        """
        wide = expansion_of(centring, coverage)
        return cls(size, "landmarks", wide, shift_y=shift_y, outside=outside, centring=centring)

    def __post_init__(self) -> None:
        if self.size < 1 or not self.expansion > 0:
            raise OptionError(
                f"a crop needs size >= 1 and expansion > 0, got {self.size} and {self.expansion}"
            )
        if self.side not in ("longer", "shorter", "mean"):
            raise OptionError(f"side is 'longer', 'shorter' or 'mean', got {self.side!r}")
        centrings = (*EXTRACT_RATIOS, *EYES)
        if self.anchor not in _PLACED or self.centring not in centrings:
            raise OptionError(
                f"a crop's anchor is one of {', '.join(_PLACED)} and its centring one of "
                f"{', '.join(centrings)}, got {self.anchor!r} and {self.centring!r}"
            )

    def matrices(self, faces: FaceGeometry) -> NDArray[np.float64]:
        """Maps from original pixels to crop pixels, (N, 2, 3)."""
        return _PLACED[self.anchor](self, faces)

    def template(self) -> NDArray[np.float64]:
        """Where the five template points lie in the crop, (5, 2) crop pixels."""
        centred = (FIVE_POINT_TEMPLATE - 0.5) / self.expansion + 0.5
        return (centred - [0.0, self.shift_y]) * self.size

    def _from_points(self, faces: FaceGeometry) -> NDArray[np.float64]:
        return umeyama(complete_points5(faces.points5, faces.box), self.template())

    def _from_five_landmarks(self, faces: FaceGeometry) -> NDArray[np.float64]:
        return umeyama(five_points(faces.landmarks), self.template())

    def _from_landmarks(self, faces: FaceGeometry) -> NDArray[np.float64]:
        matrix = centred_matrices(faces.landmarks, self.centring, self.size, self.expansion)
        matrix[:, 1, 2] -= self.shift_y * self.size
        return matrix

    def _from_box(self, faces: FaceGeometry) -> NDArray[np.float64]:
        box = np.asarray(faces.box, np.float64)
        side = (box[:, 2:] - box[:, :2]) * self.expansion
        if self.square:
            shorter, longer = side.min(1, keepdims=True), side.max(1, keepdims=True)
            chosen = {"shorter": shorter, "longer": longer, "mean": (shorter + longer) / 2}
            side = np.repeat(chosen[self.side], 2, axis=1)
        centre = (box[:, :2] + box[:, 2:]) / 2 + side * [0.0, self.shift_y]
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = self.size / side
        matrix = np.zeros((len(box), 2, 3))
        matrix[:, 0, 0], matrix[:, 1, 1] = scale[:, 0], scale[:, 1]
        matrix[:, :, 2] = self.size / 2 - scale * centre
        return matrix


_PLACED: dict[str, Callable[[CropRule, FaceGeometry], NDArray[np.float64]]] = {
    "box": CropRule._from_box,
    "points5": CropRule._from_points,
    "landmarks5": CropRule._from_five_landmarks,
    "landmarks": CropRule._from_landmarks,
}


def complete_points5(points: Floats, box: Floats) -> NDArray[np.float64]:
    """Five points, with those of an upright face in the box where a face has none."""
    points, box = np.asarray(points, np.float64), np.asarray(box, np.float64)
    assumed = box[:, None, :2] + FIVE_POINTS_IN_BOX * (box[:, 2:] - box[:, :2])[:, None]
    known = np.asarray(np.isfinite(points).all((1, 2)), bool)
    return np.where(known[:, None, None], points, assumed)
