"""Photographs with units, small and painted."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest


@pytest.fixture(scope="session")
def unit_faces(mini_faces, tmp_path_factory):
    """The painted photographs with all ``bs_*`` columns that units are made of."""
    names = [
        *("browInnerUp", "mouthShrugLower", "mouthRollLower", "mouthRollUpper", "jawOpen"),
        *(
            f"{shape}{side}"
            for shape in (
                *("browOuterUp", "browDown", "eyeWide", "cheekSquint", "eyeSquint", "noseSneer"),
                *("mouthUpperUp", "mouthSmile", "mouthDimple", "mouthFrown", "mouthStretch"),
                *("mouthPress", "mouthLowerDown", "eyeBlink"),
            )
            for side in ("Left", "Right")
        ),
    ]
    root = tmp_path_factory.mktemp("unit_faces")
    (root / "images").symlink_to(Path(mini_faces) / "images")
    table = pl.read_parquet(Path(mini_faces) / "labels.parquet")
    rng = np.random.default_rng(0)
    values = {f"bs_{name}": rng.random(len(table)) for name in names}
    for silent in ("cheekSquint", "noseSneer"):
        values |= {f"bs_{silent}{side}": np.zeros(len(table)) for side in ("Left", "Right")}
    table.with_columns(pl.Series(n, v) for n, v in values.items()).write_parquet(
        root / "labels.parquet"
    )
    return str(root)
