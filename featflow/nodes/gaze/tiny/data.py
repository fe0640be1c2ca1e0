"""Eye patches of labelled photographs, and how a training sample is drawn from one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.datasets.frame import Frame
from featflow.datasets.labelled import Image, LabelledFaces
from featflow.flow.batch import Batch, FaceBatch, FrameBatch
from featflow.geometry.centring import align51
from featflow.geometry.crop import complete_points5
from featflow.geometry.landmarks import box_of_landmarks
from featflow.geometry.rotation import angles_from_rotation
from featflow.geometry.similarity import apply, compose
from featflow.geometry.warp import warp
from featflow.nodes.gaze.tiny.network import WIDTH
from featflow.nodes.gaze.tiny.node import (
    LEFT_EYE,
    RIGHT_EYE,
    aligned_points,
    mirrored,
    patch,
    turned,
)
from featflow.nodes.landmark.tiny.node import LandmarkTiny
from featflow.train.photometric import Rng, cover, degrade, relight

Floats = NDArray[np.floating[Any]]

_CHUNK = 64
_FIRST_ROW = (RIGHT_EYE.size - patch(np.zeros((1, RIGHT_EYE.size, 1), np.uint8)).shape[1]) // 2
_SMALLEST = 22


@dataclass(frozen=True, slots=True)
class Sample:
    """One face as the network and the loss see it.

    Attributes:
        right, left: (32, 48, 3) uint8, upright, the left eye mirrored.
        points: (68, 2) landmarks in the unit square, its middle at 0.
        gaze: (2,) pitch and yaw in radians of the upright face.
        iris: (2, 2) centres of the irises in the two patches, x, y; NaN off the patch.
        weight: the teachers' confidence.
    """

    right: Image
    left: Image
    points: Floats
    gaze: Floats
    iris: Floats
    weight: float


def predicted_landmarks(
    faces: LabelledFaces, images: Sequence[Image], rng: Rng | None
) -> NDArray[np.float32]:
    """Points (N, 68, 2) that the landmark node gives for labelled photographs.

    The node gets the table's five points, each moved by 2 % of the box where ``rng`` is given,
    so that the points have the errors that they have in use.
    """
    node = LandmarkTiny()
    node.load("cpu")
    box = np.where(np.isfinite(faces.boxes), faces.boxes, box_of_landmarks(faces.landmarks))
    points5 = complete_points5(faces.points5, box)
    if rng is not None:
        side = (box[:, 2:] - box[:, :2]).max(1)
        points5 = points5 + rng.normal(0, 0.02, points5.shape) * side[:, None, None]
    found = [
        _landmarks(node, images[at : at + _CHUNK], box[at : at + _CHUNK], points5[at : at + _CHUNK])
        for at in range(0, len(images), _CHUNK)
    ]
    return np.concatenate(found)


def _landmarks(
    node: LandmarkTiny, images: Sequence[Image], box: Floats, points5: Floats
) -> NDArray[np.float32]:
    frames = FrameBatch.from_frames([Frame(i, "", size_px=i.shape[:2]) for i in images])
    fields = {"box": box, "score": np.ones(len(box)), "points5": points5}
    batch = Batch(frames, FaceBatch(frames.uids, fields))
    said = node.post_process(batch, node.process(node.pre_process(batch)))
    return np.asarray(said["landmarks"], np.float32)


class Placing:
    """Where one set of landmarks puts the eyes of N faces, worked out for all of them at once.

    Args:
        landmarks: (N, 68, 2) original pixels.
        gaze: (N, 2) the teachers' pitch and yaw.

    Attributes:
        crops: (N, 2, 2, 3) maps from the photograph to the right and the left eye crop.
        points: (N, 68, 2) landmarks in the unit square, its middle at 0.
        gaze: (N, 2) pitch and yaw of the upright faces.
    """

    def __init__(self, landmarks: Floats, gaze: Floats) -> None:
        faces = SimpleNamespace(landmarks=np.asarray(landmarks, np.float64))
        self.crops = np.stack([rule.matrices(faces) for rule in (RIGHT_EYE, LEFT_EYE)], 1)
        self.points = aligned_points(faces.landmarks)
        self.upright = align51(faces.landmarks)
        self.gaze = turned(gaze, self.upright)


class EyeSet:
    """Photographs with their gaze and one or more sets of landmarks.

    Args:
        faces: the labels.
        images: the photographs.
        landmarks: sets of points (N, 68, 2), as different detections would give them.
    """

    def __init__(
        self, faces: LabelledFaces, images: list[Image], landmarks: Sequence[Floats]
    ) -> None:
        self.faces = faces
        self.images = images
        self.placings = [Placing(each, faces.gaze) for each in landmarks]
        self.iris = faces.iris.astype(np.float64)
        self.weight = faces.gaze_confidence

    def __len__(self) -> int:
        return len(self.images)

    @property
    def upright_head(self) -> NDArray[np.float64]:
        """(N, 2) pitch and yaw of the upright heads, by the first set of landmarks."""
        head = angles_from_rotation(self.faces.rotations)[:, [0, 2]]
        return turned(head, self.placings[0].upright)

    def plain(self, row: int) -> Sample:
        """What the node itself would cut by the first set of landmarks."""
        still = np.eye(2, 3)
        return self._sample(row, self.placings[0], still, [still, still])

    def augmented(self, row: int, rng: Rng) -> Sample:
        """As other landmarks, another camera and another light might give it."""
        placing = self.placings[int(rng.integers(len(self.placings)))]
        common, each = jitter(rng, 0.05, 0.05, 1.0), [jitter(rng, 0.02, 0.03, 0.7) for _ in "rl"]
        sample = self._sample(row, placing, common, each)
        shown = degrade(relight(np.concatenate([sample.right, sample.left]), rng), rng, _SMALLEST)
        shown = cover(shown, rng) if rng.random() < 0.05 else shown
        right, left = np.split(shown, 2)
        noise = rng.normal(0, 0.006, sample.points.shape)
        return replace(sample, right=right, left=left, points=sample.points + noise)

    def _sample(self, row: int, placing: Placing, common: Floats, each: Sequence[Floats]) -> Sample:
        """Both patches.

        Args:
            row: photograph.
            placing: landmarks to cut by.
            common: map within both crops, as an error of the alignment would make it; landmarks
                and gaze turn with it.
            each: maps within the right and the left crop, as errors of an eye's points would.
        """
        maps = compose(compose(np.stack(each), common), placing.crops[row])
        size = RIGHT_EYE.size
        crops = np.stack([warp(self.images[row], one, (size, size)) for one in maps])
        right, left = patch(crops)
        iris = apply(maps, self.iris[row][:, None])[:, 0] - [0.0, _FIRST_ROW]
        iris[1] = iris[1] * [-1.0, 1.0] + [WIDTH, 0.0]
        return Sample(
            right,
            mirrored(left[None])[0],
            placing.points[row] @ common[:, :2].T,
            turned(placing.gaze[row][None], common[None])[0],
            _on_patch(iris, right.shape[:2]),
            float(self.weight[row]),
        )


def _on_patch(points: Floats, size: tuple[int, ...]) -> Floats:
    inside = ((points >= 0) & (points < size[::-1])).all(-1, keepdims=True)
    return np.where(inside, points, np.nan)


def jitter(rng: Rng, turn: float, zoom: float, shift: float) -> NDArray[np.float64]:
    """A small random map about the middle of an eye crop.

    Args:
        rng: source of chance.
        turn: standard deviation in radians.
        zoom: of the logarithm of the scale.
        shift: in pixels.
    """
    angle, scale = rng.normal(0, turn), np.exp(rng.normal(0, zoom))
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[c, -s], [s, c]])
    centre = np.full(2, RIGHT_EYE.size / 2)
    return np.concatenate(
        [linear, (centre - linear @ centre + rng.normal(0, shift, 2))[:, None]], 1
    )
