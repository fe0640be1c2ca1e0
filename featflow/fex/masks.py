"""Masks of the faces of a table, in a file beside it.

A mask is a picture and does not fit into a cell. It is kept with the map from frame to mask and
the key of its face, so it finds its row again however the table was filtered or sorted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featflow.errors import InputError, MissingInputError, SchemaError
from featflow.files import write_atomically
from featflow.geometry.similarity import compose, invert
from featflow.geometry.warp import warp

Floats = NDArray[np.floating[Any]]

_KEYED = ("input", "frame", "FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight")
_DIGEST = 16


@dataclass(frozen=True, slots=True)
class Masks:
    """Masks of one name.

    Attributes:
        pictures: (N, size, size) uint8, 255 inside.
        matrices: (N, 2, 3) maps from original frame pixels to mask pixels.
    """

    pictures: NDArray[np.uint8]
    matrices: NDArray[np.float64]

    def on_crop(self, row: int, to_crop: Floats, size: int) -> NDArray[np.uint8]:
        """One mask as it lies on a crop, (size, size); 0 where the mask does not reach.

        Args:
            row: which mask.
            to_crop: (2, 3) map from frame to crop.
            size: side of the crop.
        """
        matrix = compose(to_crop, invert(self.matrices[row]))
        return warp(self.pictures[row], matrix, (size, size))


def face_keys(table: pd.DataFrame) -> NDArray[np.uint8]:
    """(rows, 16) digests of input, frame and box: the same face has the same in every copy.

    Raises:
        SchemaError: a column of these is missing.
    """
    missing = [name for name in _KEYED if name not in table.columns]
    if missing:
        raise SchemaError(f"faces have no key without the columns {', '.join(missing)}")
    columns = [table[name].tolist() for name in _KEYED]
    keys = np.zeros((len(table), _DIGEST), np.uint8)
    for row, (source, frame, *box) in enumerate(zip(*columns, strict=True)):
        text = "|".join([str(source), str(frame), *(f"{value:.2f}" for value in box)])
        keys[row] = list(hashlib.blake2b(text.encode(), digest_size=_DIGEST).digest())
    return keys


def masks_path(table_path: str | Path) -> Path:
    """Where the masks of a saved table lie: ``clip.parquet`` has ``clip.masks.safetensors``."""
    path = Path(table_path)
    return path.with_name(f"{path.stem}.masks.safetensors")


def save_masks(path: str | Path, table: pd.DataFrame, masks: Mapping[str, Masks]) -> None:
    """Write masks of all rows of a table, whole or not at all.

    Args:
        path: file to write or replace, see :func:`masks_path`.
        table: its faces.
        masks: name to one mask a row.

    Raises:
        SchemaError: there is not one mask and one matrix a row.
        OutputError: the file cannot be written.
    """
    from safetensors.numpy import save

    tensors = {"keys": face_keys(table)}
    for name, each in masks.items():
        if not len(each.pictures) == len(each.matrices) == len(table):
            raise SchemaError(f"masks {name!r}: {len(each.pictures)} for {len(table)} rows")
        tensors[f"pictures.{name}"] = np.ascontiguousarray(each.pictures)
        tensors[f"matrices.{name}"] = np.ascontiguousarray(each.matrices, np.float64)
    write_atomically(path, save(tensors, {"featflow": json.dumps({"masks": list(masks)})}))


def read_masks(path: str | Path, table: pd.DataFrame) -> dict[str, Masks]:
    """Masks of a table's rows by name; a face that has none gets an empty mask without a place.

    Raises:
        MissingInputError: there is no such file.
        InputError: the file is damaged or holds no masks.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = Path(path)
    if not path.is_file():
        raise MissingInputError(str(path), "no such file of masks")
    try:
        tensors = load(path.read_bytes())
        known = {bytes(key): row for row, key in enumerate(tensors.pop("keys"))}
        names = [name.removeprefix("pictures.") for name in tensors if name.startswith("pictures.")]
        stored = {n: Masks(tensors[f"pictures.{n}"], tensors[f"matrices.{n}"]) for n in names}
    except (SafetensorError, KeyError) as error:
        raise InputError(str(path), f"is not a file of masks: {error}") from error
    rows = np.array([known.get(bytes(key), -1) for key in face_keys(table)], np.int64)
    return {name: _rows(each, rows) for name, each in stored.items()}


def _rows(masks: Masks, rows: NDArray[np.int64]) -> Masks:
    found = rows >= 0
    pictures = np.zeros((len(rows), *masks.pictures.shape[1:]), np.uint8)
    matrices = np.full((len(rows), 2, 3), np.nan)
    pictures[found], matrices[found] = masks.pictures[rows[found]], masks.matrices[rows[found]]
    return Masks(pictures, matrices)
