"""Batches and tables that the table's tests share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from featflow.datasets.frame import Frame
from featflow.errors import ImageError
from featflow.fex import Fex, fex_from_batches, new_meta
from featflow.flow.batch import Batch, FaceBatch, FrameBatch

FIELDS = ("box", "score", "points5", "landmarks", "landmark_score", "pose")


def build_batch(
    faces_per_frame: Sequence[int],
    *,
    seed: int = 0,
    first_index: int = 0,
    embedding: int = 0,
    unreadable: Sequence[int] = (),
    source: str = "clip.mp4",
) -> Batch:
    """A batch with random faces; frames are 40 by 60 pixels, 25 a second."""
    rng = np.random.default_rng(seed)
    frames = [
        Frame.failed(source, ImageError(source, "is cut short"), first_index + i)
        if i in unreadable
        else Frame(
            np.zeros((4, 6, 3), np.uint8),
            source,
            first_index + i,
            (first_index + i) / 25,
            (40, 60),
            0.1,
        )
        for i in range(len(faces_per_frame))
    ]
    n = sum(faces_per_frame)
    uids = np.repeat(np.arange(len(frames)), faces_per_frame) + first_index
    corner = rng.random((n, 2), np.float32) * 30
    fields = {
        "box": np.concatenate([corner, corner + 1 + rng.random((n, 2), np.float32) * 9], 1),
        "score": rng.random(n, np.float32),
        "points5": rng.random((n, 5, 2), np.float32),
        "landmarks": rng.random((n, 68, 2), np.float32) * 40,
        "landmark_score": rng.random(n, np.float32),
        "pose": rng.standard_normal((n, 6), np.float32),
    }
    if embedding:
        fields["embedding"] = rng.standard_normal((n, embedding)).astype(np.float32)
    return Batch(FrameBatch.from_frames(frames, first_index), FaceBatch(uids, fields))


META = new_meta({"face": "face/tiny"}, {"face/tiny": "ab12"}, {"face_detection_threshold": 0.5})


def build_fex(faces_per_frame: Sequence[int], **options: object) -> Fex:
    """The table of :func:`build_batch`, with metadata."""
    return fex_from_batches(build_batch(faces_per_frame, **options), META, fields=FIELDS)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def make_batch() -> Callable[..., Batch]:
    return build_batch


@pytest.fixture(scope="session")
def make_fex() -> Callable[..., Fex]:
    return build_fex


@pytest.fixture(scope="session")
def meta() -> dict[str, object]:
    return META
