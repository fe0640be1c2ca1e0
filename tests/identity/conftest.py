"""Planted people, and tables of them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from featflow.fex import Fex, new_meta


def planted(faces: int, people: int, size: int = 32, alike: float = 0.8, seed: int = 0):
    """Embeddings of faces whose mean cosine within a person is ``alike``, and the person."""
    draw = np.random.default_rng(seed)
    centres = draw.standard_normal((people, size))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    who = draw.integers(0, people, faces)
    noise = draw.standard_normal((faces, size))
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    vectors = np.sqrt(alike) * centres[who] + np.sqrt(1 - alike) * noise
    lengths = draw.uniform(0.2, 30, (faces, 1))  # networks seldom give unit vectors
    return (vectors * lengths).astype(np.float32), who


def table(vectors, frames, boxes, source="clip.mp4", times=None, scores=None, node="identity/x"):
    """A Fex of faces with boxes x, y, w, h."""
    vectors, boxes = np.asarray(vectors, np.float32), np.asarray(boxes, np.float32)
    count = len(vectors)
    columns = {
        "input": pd.array([source] * count if isinstance(source, str) else source, dtype="str"),
        "frame": np.asarray(frames, np.int64),
        "time": np.asarray(np.asarray(frames) * 0.04 if times is None else times, np.float64),
        **dict(
            zip(("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight"), boxes.T, strict=True)
        ),
        "FaceScore": np.asarray(np.ones(count) if scores is None else scores, np.float32),
        **{f"Identity_{i + 1}": column for i, column in enumerate(vectors.T)},
        "Keep": np.ones(count, bool),
        "FilterReason": pd.array([""] * count, dtype="str"),
    }
    return Fex(columns, meta=new_meta({"identity": node}, {node: "ab" * 32}))


@pytest.fixture
def make():
    return SimpleNamespace(planted=planted, table=table)
