"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says nothing on a machine that other work keeps busy.
settings.register_profile(
    "featflow", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("featflow")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of the project's shared data; the test is skipped where it is absent."""
    default = Path(__file__).parents[1].parent / "shared"
    folder = Path(os.environ.get("FEATFLOW_SHARED", default))
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder} (set FEATFLOW_SHARED)")
    return folder


@pytest.fixture(scope="session")
def mini_faces(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder like ``shared/faces``: 14 painted photographs, 4 scenes, 6 empty pictures."""
    from PIL import Image

    from featflow.geometry.landmarks import five_points
    from featflow.testing.face68 import FACE68_CM

    root = tmp_path_factory.mktemp("faces")
    for folder in ("images/mux", "images/ytf", "images/scene", "noface"):
        (root / folder).mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    for index in range(14):
        source, split = ("mux", "ytf")[index % 2], ("train", "val")[index % 7 > 4]
        points = FACE68_CM[:, :2] * [5.0, -5.0] + [75.0 + index, 70.0]
        box = np.concatenate([points.min(0), points.max(0)])
        five = five_points(points)
        if index == 2:
            box, five = box * np.nan, five * np.nan
        image = np.full((140, 160, 3), (10 * index, 60, 200), np.uint8)
        name = f"{source}/{index:02}.png"
        Image.fromarray(image).save(root / "images" / name)
        other = [120.0, 10.0, 150.0, 40.0, 0.6]
        seen = [[*box.tolist(), 0.99]] if np.isfinite(box).all() else []
        rows.append(
            {
                "file": name,
                "source": source,
                "split": split,
                **dict(zip(("rf_x0", "rf_y0", "rf_x1", "rf_y1"), box.tolist(), strict=True)),
                "rf_points": five.ravel().tolist(),
                "landmarks68": points.ravel().tolist(),
                **{f"R{i}{j}": float(i == j) for i in range(3) for j in range(3)},
                "detections": [other, *seen] if source == "ytf" else [],
            }
        )
    schema = {"rf_points": pl.Array(pl.Float32, 10), "landmarks68": pl.Array(pl.Float32, 136)}
    overrides = {**schema, "detections": pl.List(pl.List(pl.Float32))}
    pl.DataFrame(rows, schema_overrides=overrides).write_parquet(root / "labels.parquet")
    scenes: list[dict[str, Any]] = []
    for index in range(4):
        image = np.full((120, 130, 3), 40 * index, np.uint8)
        Image.fromarray(image).save(root / "images" / f"scene/{index}.png")
        faces = [
            [10.0, 20, 50, 70, 0.9, *range(10)],
            [70.0, 20, 90, 40, 0.84, *range(10, 20)],
        ]
        split = ("train", "val")[index % 2]
        scenes.append(
            {"file": f"scene/{index}.png", "split": split, "detections": faces[: 2 - index // 3]}
        )
    pl.DataFrame(
        scenes, schema_overrides={"detections": pl.List(pl.List(pl.Float32))}
    ).write_parquet(root / "scenes.parquet")
    for index in range(6):
        picture = np.full((80, 90, 3), 30 + 30 * index, np.uint8)
        Image.fromarray(picture).save(root / "noface" / f"{index}.jpg", quality=95)
    return str(root)
