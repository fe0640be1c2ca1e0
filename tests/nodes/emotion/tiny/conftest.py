"""A folder of labelled faces with what expressions need besides."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from featflow.fex.schema import EMOTIONS


@pytest.fixture(scope="session")
def expressive_faces(mini_faces, tmp_path_factory) -> Path:
    """``mini_faces`` with human labels, teachers and people, and 12 painted FER+ pictures."""
    root = tmp_path_factory.mktemp("expressive") / "faces"
    shutil.copytree(mini_faces, root)
    table = pl.read_parquet(root / "labels.parquet")
    count = len(table)
    rng = np.random.default_rng(0)
    names = ["neutral", "happiness", "contempt", None, "surprise", "anger", "fear"]
    teachers = {
        f"{prefix}{name}": column
        for prefix in ("emotion_", "emotion_stacked_")
        for name, column in zip(EMOTIONS, rng.dirichlet(np.ones(7), count).T, strict=True)
    }
    table.with_columns(
        emotion=pl.Series([names[i % 7] for i in range(count)], dtype=pl.String),
        identity=pl.Series([None if i % 2 else f"person {i // 4}" for i in range(count)]),
        **{k: pl.Series(v) for k, v in teachers.items()},
    ).write_parquet(root / "labels.parquet")
    votes = rng.multinomial(10, np.full(10, 0.1), 12)
    columns = [*EMOTIONS, "contempt", "unknown", "NF"]
    pl.DataFrame(
        {
            "name": [f"{i}.png" for i in range(12)],
            "split": ["train"] * 8 + ["val"] * 4,
            "image": [jpeg(20 * i) for i in range(12)],
            **{f"votes_{c}": votes[:, k] for k, c in enumerate(columns)},
        }
    ).write_parquet(root / "ferplus.parquet")
    return root


def jpeg(tone: int) -> bytes:
    """One tone, 48 pixels square."""
    file = io.BytesIO()
    Image.fromarray(np.full((48, 48), tone, np.uint8)).save(file, "JPEG", quality=95)
    return file.getvalue()
