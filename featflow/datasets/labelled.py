"""Labelled photographs held in memory: a table of labels plus the pictures it names."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import polars as pl
from numpy.typing import NDArray

from featflow.errors import MissingInputError, OptionError

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class LabelledFaces:
    """Rows of ``labels.parquet`` and how to reach their pictures.

    Attributes:
        root: folder with ``labels.parquet`` and ``images/``.
        table: one row a photograph.
    """

    root: Path
    table: pl.DataFrame

    @classmethod
    def open(cls, root: str | Path, split: str | None = None) -> LabelledFaces:
        """Read the table; ``split`` is ``"train"``, ``"val"`` or None for all rows."""
        if split not in (None, "train", "val"):
            raise OptionError(f"split must be 'train', 'val' or None, got {split!r}")
        root = Path(root)
        path = root / "labels.parquet"
        if not path.is_file():
            raise MissingInputError(
                str(path), "no such table", "set [data] root to the folder of labelled faces"
            )
        table = pl.read_parquet(path)
        return cls(root, table if split is None else table.filter(pl.col("split") == split))

    def __len__(self) -> int:
        return len(self.table)

    @property
    def version(self) -> str:
        """First 12 hex digits of the table's SHA-256."""
        return hashlib.sha256((self.root / "labels.parquet").read_bytes()).hexdigest()[:12]

    @property
    def boxes(self) -> NDArray[np.float32]:
        """(N, 4) RetinaFace boxes, NaN where it found none."""
        return self.table.select("rf_x0", "rf_y0", "rf_x1", "rf_y1").to_numpy().astype(np.float32)

    @property
    def points5(self) -> NDArray[np.float32]:
        """(N, 5, 2) RetinaFace points, NaN where it found none."""
        return self._points("rf_points", 5)

    @property
    def landmarks(self) -> NDArray[np.float32]:
        """(N, 68, 2) iBUG-68 points from the mesh."""
        return self._points("landmarks68", 68)

    @property
    def rotations(self) -> NDArray[np.float64]:
        """(N, 3, 3) head rotations; columns are subject's left, up and forward."""
        names = [f"R{i}{j}" for i in range(3) for j in range(3)]
        return self.table.select(names).to_numpy().reshape(-1, 3, 3).astype(np.float64)

    @property
    def gaze(self) -> NDArray[np.float64]:
        """(N, 2) teachers' pitch and yaw of the gaze, radians, + up, + to the subject's right."""
        return self.table.select("gaze_pitch", "gaze_yaw").to_numpy().astype(np.float64)

    @property
    def gaze_confidence(self) -> NDArray[np.float64]:
        """(N,) how far the teachers' gaze can be trusted, 0..1."""
        return self.table["gaze_conf"].to_numpy().astype(np.float64)

    @property
    def iris(self) -> NDArray[np.float32]:
        """(N, 2, 2) centres of the irises, that on the image left first."""
        return self._points("iris", 10)[:, [0, 5]]

    def _points(self, column: str, count: int) -> NDArray[np.float32]:
        flat = self.table[column].to_numpy()
        return np.asarray(flat, np.float32).reshape(-1, count, 2)

    def read(self, row: int) -> Image:
        """The photograph of a row, (H, W, 3) uint8 RGB."""
        return read_rgb(self.root / "images" / self.table["file"][row])

    def read_all(self) -> list[Image]:
        """All photographs, decoded once."""
        return [read_rgb(self.root / "images" / name) for name in self.table["file"]]


def read_rgb(path: Path) -> Image:
    """Decode a training photograph that is known to be sound, (H, W, 3) uint8 RGB."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if picture is None:
        raise MissingInputError(str(path), "cannot be read as a picture")
    return np.asarray(picture, np.uint8)
