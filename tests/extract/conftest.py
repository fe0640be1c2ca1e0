"""Frames and faces whose every value is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from featflow.datasets.frame import Frame
from featflow.flow.batch import Batch, FaceBatch, FrameBatch
from featflow.geometry.mean_face import FACE68_CM


def upright_face(centre: Sequence[float], unit_px: float, turn: float = 0.0) -> np.ndarray:
    """68 points whose inner points span ``unit_px`` from brow to brow, tilted by ``turn``.

    ``turn`` is in radians, + to the subject's right, which is counter-clockwise as seen.
    """
    flat = FACE68_CM[:, :2] * [1, -1] * (unit_px / 11.64)
    c, s = np.cos(turn), np.sin(turn)
    return flat @ np.array([[c, s], [-s, c]]).T + centre


def build_batch(
    sizes_px: Sequence[tuple[int, int]], frame_of_face: Sequence[int], **fields: Any
) -> Batch:
    """Black frames of given (height, width), and faces with given fields."""
    frames = FrameBatch.from_frames(
        [
            Frame(np.zeros((*size, 3), np.uint8), f"frame {i}", i, size_px=size)
            for i, size in enumerate(sizes_px)
        ]
    )
    arrays = {name: np.asarray(value, np.float32) for name, value in fields.items()}
    count = len(frame_of_face)
    arrays.setdefault("box", np.zeros((count, 4), np.float32))
    arrays.setdefault("score", np.ones(count, np.float32))
    return Batch(frames, FaceBatch(np.asarray(frame_of_face, np.int64), arrays))


@pytest.fixture(scope="session")
def make_face() -> Callable[..., np.ndarray]:
    return upright_face


@pytest.fixture(scope="session")
def make_batch() -> Callable[..., Batch]:
    return build_batch
