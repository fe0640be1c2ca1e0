"""Faces and frames on which any node can be tried: made up, the same every time."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from featflow.datasets.frame import Frame
from featflow.errors import OptionError
from featflow.flow.batch import Batch, FaceBatch, FrameBatch
from featflow.flow.node import Node
from featflow.geometry.crop import FIVE_POINTS_IN_BOX

FACES = 8
_HEIGHT, _WIDTH = 240, 320
_FRAME_OF_FACE = np.repeat(np.arange(FACES // 2, dtype=np.int64), 2)


def sample_for(node: Node) -> Batch:
    """A batch of 8 frames for a frame node, or of 8 faces in 4 frames for a face node.

    Pictures are smooth noise with a drawn face at each box; points lie where a frontal face
    has them. A detector is free to find nothing in them: pass your own sample to
    :func:`featflow.testing.check_node` to try it on photographs.

    Raises:
        OptionError: the node requires a field that only another node of yours can make.
    """
    boxes = _boxes()
    count = FACES if node.unit == "frame" else FACES // 2
    images = [_picture(at).copy() for at in range(count)]
    frames = FrameBatch.from_frames(
        [
            Frame(image, f"sample-{at}", at, at / 25, (_HEIGHT, _WIDTH))
            for at, image in enumerate(images)
        ]
    )
    if node.unit == "frame":
        return Batch(frames, FaceBatch.empty(()))
    fields = _fields(boxes)
    unknown = [name for name in node.requires if name not in fields]
    if unknown:
        raise OptionError(f"{node.id} requires {unknown}; pass a sample with 8 faces that has them")
    return Batch(frames, FaceBatch(_FRAME_OF_FACE.copy(), fields))


def _boxes() -> NDArray[np.float32]:
    at = np.arange(FACES)
    x0 = 20 + 150 * (at % 2) + 3 * at
    y0 = 30 + 7 * at
    side = 60 + 4 * at
    return np.stack([x0, y0, x0 + side, y0 + 1.2 * side], 1).astype(np.float32)


def _fields(boxes: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    corner, size = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None]
    turn = np.linspace(-0.3, 0.3, FACES)
    return {
        "box": boxes,
        "score": np.linspace(0.99, 0.6, FACES, dtype=np.float32),
        "points5": (corner + FIVE_POINTS_IN_BOX * size).astype(np.float32),
        "landmarks": (corner + _mean_face() * size).astype(np.float32),
        "landmark_score": np.full(FACES, 0.9, np.float32),
        "gaze_score": np.full(FACES, 0.8, np.float32),
        "mask_matrix": np.tile(np.eye(2, 3, dtype=np.float32), (FACES, 1, 1)),
        "pose": np.stack([turn, -turn, turn / 2, turn, turn, 60 + turn], 1).astype(np.float32),
    }


def _mean_face() -> NDArray[np.float64]:
    """68 points of a plain frontal face in a unit box, iBUG order, drawn from ellipses."""

    def arc(
        cx: float, cy: float, rx: float, ry: float, start: float, stop: float, n: int
    ) -> list[NDArray[np.float64]]:
        t = np.radians(np.linspace(start, stop, n))
        return list(np.stack([cx + rx * np.cos(t), cy + ry * np.sin(t)], 1))

    def ring(cx: float, cy: float, rx: float, ry: float, n: int) -> list[NDArray[np.float64]]:
        return arc(cx, cy, rx, ry, 180, 540 - 360 / n, n)

    brows = arc(0.3, 0.34, 0.14, 0.08, 200, 340, 5) + arc(0.7, 0.34, 0.14, 0.08, 200, 340, 5)
    ridge = [np.array([0.5, y]) for y in np.linspace(0.4, 0.57, 4)]
    base = arc(0.5, 0.6, 0.1, 0.04, 170, 10, 5)
    eyes = ring(0.3, 0.4, 0.09, 0.03, 6) + ring(0.7, 0.4, 0.09, 0.03, 6)
    mouth = ring(0.5, 0.77, 0.18, 0.07, 12) + ring(0.5, 0.77, 0.13, 0.03, 8)
    return np.array(arc(0.5, 0.4, 0.48, 0.58, 180, 0, 17) + brows + ridge + base + eyes + mouth)


@cache
def _picture(at: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(at)
    coarse = rng.integers(40, 120, (_HEIGHT // 20, _WIDTH // 20, 3))
    image = coarse.repeat(20, 0).repeat(20, 1).astype(np.uint8)
    y, x = np.mgrid[:_HEIGHT, :_WIDTH] + 0.5
    for x0, y0, x1, y1 in _boxes()[at % (FACES // 2) == _FRAME_OF_FACE]:
        u, v = (x - x0) / (x1 - x0), (y - y0) / (y1 - y0)
        image[(u - 0.5) ** 2 + (v - 0.5) ** 2 < 0.25] = (224, 172, 140)
        for eye in (0.3, 0.7):
            image[((u - eye) / 0.09) ** 2 + ((v - 0.4) / 0.04) ** 2 < 1] = (40, 30, 30)
        image[((u - 0.5) / 0.18) ** 2 + ((v - 0.77) / 0.06) ** 2 < 1] = (150, 60, 60)
    return image
