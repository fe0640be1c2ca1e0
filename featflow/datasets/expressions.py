"""What people and networks say of the expression in a picture: labels, votes, probabilities."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
from numpy.typing import NDArray

from featflow.datasets.labelled import Image
from featflow.errors import MissingInputError, OptionError
from featflow.fex.schema import EMOTIONS

Floats = NDArray[np.floating[Any]]

OTHER_VOTES = ("contempt", "unknown", "NF")
"""Votes of FER+ that are none of the table's seven expressions; NF is "not a face"."""


def emotion_labels(table: pl.DataFrame) -> NDArray[np.int64]:
    """Index in :data:`EMOTIONS` of each row's human label (N,).

    -1 where there is none, or where it is no expression of ours: contempt.
    """
    names = table["emotion"].fill_null("").to_list()
    return np.array([EMOTIONS.index(n) if n in EMOTIONS else -1 for n in names], np.int64)


def teacher_emotions(table: pl.DataFrame, prefix: str) -> NDArray[np.float64]:
    """Probabilities (N, 7) of a teacher, in the order of :data:`EMOTIONS`.

    Args:
        table: rows of ``labels.parquet``.
        prefix: ``"emotion_"`` or ``"emotion_stacked_"``.
    """
    return table.select([prefix + name for name in EMOTIONS]).to_numpy().astype(np.float64)


@dataclass(frozen=True)
class FaceVotes:
    """FER2013 pictures with the FER+ votes of ten people (Barsoum et al. 2016).

    Attributes:
        root: folder with ``ferplus.parquet``.
        table: one row a picture.
    """

    root: Path
    table: pl.DataFrame

    @classmethod
    def open(cls, root: str | Path, split: str) -> FaceVotes:
        """Read the pictures and votes of ``split``, ``"train"`` or ``"val"``."""
        if split not in ("train", "val"):
            raise OptionError(f"split must be 'train' or 'val', got {split!r}")
        path = Path(root) / "ferplus.parquet"
        if not path.is_file():
            raise MissingInputError(str(path), "no such table", "see datasets/ferplus/README.md")
        return cls(Path(root), pl.read_parquet(path).filter(pl.col("split") == split))

    def __len__(self) -> int:
        return len(self.table)

    @property
    def version(self) -> str:
        """First 12 hex digits of the table's SHA-256."""
        return hashlib.sha256((self.root / "ferplus.parquet").read_bytes()).hexdigest()[:12]

    @property
    def votes(self) -> NDArray[np.int64]:
        """(N, 10) votes: the seven expressions in their order, then :data:`OTHER_VOTES`."""
        names = [f"votes_{name}" for name in (*EMOTIONS, *OTHER_VOTES)]
        return self.table.select(names).to_numpy().astype(np.int64)

    def read_all(self) -> list[Image]:
        """All pictures, (48, 48, 3) uint8, grey in three equal channels."""
        return [self._decode(row) for row in range(len(self))]

    def _decode(self, row: int) -> Image:
        encoded = np.frombuffer(self.table["image"][row], np.uint8)
        picture = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
        if picture is None:
            name = f"{self.root / 'ferplus.parquet'} {self.table['name'][row]}"
            raise MissingInputError(name, "cannot be read as a picture")
        return np.asarray(picture, np.uint8)


def majority(votes: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """The expression (N,) with more votes than anything else of (N, 10); -1 where there is none.

    A tie, or a majority for contempt, unknown or "not a face", is none.
    """
    best = votes.argmax(1)
    tied = (votes == votes.max(1, keepdims=True)).sum(1) > 1
    return np.where(tied | (best >= len(EMOTIONS)), -1, best).astype(np.int64)
