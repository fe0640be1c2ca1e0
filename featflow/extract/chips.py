"""Aligned faces as PNG pictures that carry their row of the table, and the way back.

The row lies in a text chunk of the picture itself, as JSON. It survives copying and renaming;
a program that saves the picture anew may drop it.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from featflow.datasets.frame import Frame
from featflow.errors import InputError, MissingInputError, OptionError, OutputError, SchemaError
from featflow.fex.meta import META_KEY, dump_meta, load_meta
from featflow.fex.table import Fex
from featflow.fex.unpack import fields_of
from featflow.files import write_atomically
from featflow.flow.batch import Batch, FaceBatch, FrameBatch
from featflow.geometry.centring import EXTRACT_RATIOS, Centring
from featflow.geometry.crop import CropRule
from featflow.geometry.similarity import compose, invert
from featflow.geometry.warp import warp
from featflow.identity.filters import has_face
from featflow.pictures import FrameIndex

VERSION = 1
"""Of what lies in the pictures; raised when its meaning changes."""

CHUNK = "featflow"
"""Keyword of the PNG text chunk."""

_KEPT_META = ("schema_version", "featflow", "nodes", "weights", "options", "provenance")


@dataclass(frozen=True, slots=True)
class Chip:
    """An aligned face with its row.

    Attributes:
        image: (size, size, 3) uint8 RGB.
        row: the table's row, one line with its metadata.
        number: position of the row in the table that was exported.
        matrix: (2, 3) from pixels of the original frame to those of ``image``.
        centring: what lies in the middle, see :mod:`featflow.geometry.centring`.
    """

    image: NDArray[np.uint8]
    row: Fex
    number: int
    matrix: NDArray[np.float64]
    centring: Centring

    def frame(self) -> Frame:
        """The picture as a frame of a flow, in which coordinates are those of the original.

        Raises:
            SchemaError: the row does not say how large the original frame was.
        """
        absent = [name for name in ("FrameHeight", "FrameWidth") if name not in self.row]
        if absent:
            raise SchemaError(f"the row of an aligned face needs {absent}, its frame's size")
        cell = {n: self.row[n].iloc[0] for n in ("input", "frame", "time") if n in self.row}
        height, width = (int(self.row[name].iloc[0]) for name in ("FrameHeight", "FrameWidth"))
        return Frame(
            self.image,
            str(cell.get("input", "face")),
            int(cell.get("frame", 0)),
            float(cell.get("time", math.nan)),
            (height, width),
            cut=self.matrix,
        )

    def crop(self, rule: CropRule) -> NDArray[np.uint8]:
        """The face by another rule, cut from this picture; black where it does not reach.

        Args:
            rule: one that goes by landmarks, see :meth:`CropRule.centred`.
        """
        if rule.anchor != "landmarks":
            raise OptionError(f"a picture of a face is cut by landmarks, not by {rule.anchor}")
        points = fields_of(self.row)["landmarks"]
        wanted = rule.matrices(FaceBatch(np.zeros(1, np.int64), {"landmarks": points}))[0]
        return warp(self.image, compose(wanted, invert(self.matrix)), (rule.size, rule.size))


def export_faces(
    table: pd.DataFrame,
    folder: str | Path,
    size: int = 512,
    centring: Centring = "head",
    *,
    marked: bool = False,
    pictures: Mapping[str, Any] | None = None,
) -> pd.Series[Any]:
    """Write each face of a table as an aligned PNG that carries its row.

    Args:
        table: faces with landmarks.
        folder: where the pictures go; made if it is not there.
        size: side of the pictures in pixels.
        centring: ``"legacy"``, ``"face"`` or ``"head"``; a head holds the others.
        marked: also the rows that a filter marked.
        pictures: where inputs are now, if not where the table says.

    Returns:
        Path of each picture, indexed by row number; faces without landmarks are left out.

    Raises:
        AbsentGroupError: the table has no landmarks.
        InputError: a picture cannot be read, or is not the one that the table was made of.
        OptionError: an unknown centring, or a size below 1.
        OutputError: the folder cannot be written to.
    """
    fex = table if isinstance(table, Fex) else Fex(table)
    points = fields_of(fex[list(fex.landmarks.columns)])
    if "landmarks" not in points:
        raise SchemaError("the table has some of the landmark columns, not all of x_0..y_67")
    rule = CropRule.centred(size, centring)
    wanted = has_face(fex) & np.isfinite(points["landmarks"]).all((1, 2))
    if not marked and "Keep" in fex:
        wanted &= fex["Keep"].to_numpy(bool)
    rows = np.flatnonzero(wanted).astype(np.int64)
    target = _made(Path(folder))
    names = _names(fex, rows)
    meta = {key: value for key, value in fex.meta.items() if key in _KEPT_META}
    paths: dict[int, str] = {}
    for frame, members in FrameIndex.of(fex, rows).read(True, pictures):
        if frame.error is not None:
            raise frame.error
        own = rows[members]
        for row, image, matrix in _cut(frame, own, points["landmarks"], rule):
            document = _document(fex, row, meta, matrix, centring)
            path = target / names[row]
            write_atomically(path, _png(image, document))
            paths[row] = str(path)
    return pd.Series({row: paths[row] for row in sorted(paths)}, dtype="str", name="picture")


def read_face(path: str | Path) -> Chip:
    """Read a picture that :func:`export_faces` wrote.

    Raises:
        MissingInputError: there is no such file.
        InputError: it is no PNG, carries no row, or one of a newer version.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingInputError(str(path), "no such file", "check the path")
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            picture.load()  # text after the pixels counts too
            text = getattr(picture, "text", {}).get(CHUNK)
            image = np.asarray(picture.convert("RGB"), np.uint8)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise InputError(str(path), f"is not a readable PNG: {error}") from error
    if text is None:
        hint = "was it saved anew by another program? Export it again"
        raise InputError(str(path), "carries no row of a table", hint)
    return _chip(path, str(text), image)


def read_faces(folder: str | Path) -> Fex:
    """The table of all pictures in a folder that :func:`export_faces` wrote.

    Returns:
        The rows in the order of the table that was exported, indexed by the path of the picture.

    Raises:
        MissingInputError: there is no such folder, or it holds no PNG.
        InputError: a PNG carries no row.
        SchemaError: the pictures were made by unlike nodes.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MissingInputError(str(folder), "no such folder", "check the path")
    chips = [(read_face(path), str(path)) for path in sorted(folder.glob("*.png"))]
    if not chips:
        raise MissingInputError(str(folder), "the folder holds no PNG")
    chips.sort(key=lambda entry: entry[0].number)
    fex = Fex(pd.concat([chip.row for chip, _ in chips], ignore_index=True))
    fex.index = pd.Index([path for _, path in chips], name="picture")
    return fex


@dataclass(frozen=True, slots=True)
class ChipIndex:
    """Pictures that :func:`export_faces` wrote, as the frames of their rows, one a row.

    Attributes:
        paths: picture of each row.
    """

    paths: Sequence[str]

    def __len__(self) -> int:
        return len(self.paths)

    def read(self) -> Iterator[tuple[Frame, NDArray[np.int64]]]:
        """Each picture as a frame, with the row of its face."""
        for row, path in enumerate(self.paths):
            yield read_face(path).frame(), np.array([row], np.int64)


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror}") from error
    return folder


def _names(fex: Fex, rows: NDArray[np.int64]) -> dict[int, str]:
    """A file name a row: input, frame, and a number where that is not enough."""
    taken: set[str] = set()
    names = {}
    frames = fex["frame"].to_numpy() if "frame" in fex else np.zeros(len(fex))
    for row in rows.tolist():
        stem = Path(str(fex["input"].iloc[row])).stem.replace(":", "-") or "face"
        name = f"{stem}_{int(np.nan_to_num(frames[row])):06d}"
        number = next(n for n in range(len(rows) + 1) if f"{name}_{n}" not in taken)
        taken.add(f"{name}_{number}")
        names[row] = f"{name}_{number}.png"
    return names


def _cut(
    frame: Frame, rows: NDArray[np.int64], landmarks: NDArray[Any], rule: CropRule
) -> Iterator[tuple[int, NDArray[np.uint8], NDArray[np.float64]]]:
    points = landmarks[rows]
    faces = FaceBatch(np.zeros(len(rows), np.int64), {"landmarks": points})
    crops = Batch(FrameBatch.from_frames([frame]), faces).crops(rule)
    yield from zip(rows.tolist(), crops, rule.matrices(faces), strict=True)


def _document(
    fex: Fex, row: int, meta: Mapping[str, Any], matrix: NDArray[np.float64], centring: Centring
) -> dict[str, Any]:
    line = fex.iloc[row]
    values = [_plain(name, line[name]) for name in fex.columns]
    return {
        "featflow_face": VERSION,
        "number": row,
        "centring": centring,
        "matrix": matrix.tolist(),
        "columns": [[str(name), str(dtype)] for name, dtype in fex.dtypes.items()],
        "values": values,
        META_KEY: meta,
    }


def _plain(name: str, value: Any) -> Any:
    """A cell as JSON; what is missing is null."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, np.generic):
        return _plain(name, value.item())
    if isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise SchemaError(f"column {name!r} holds {value!r}, which cannot be written as JSON")


def _png(image: NDArray[np.uint8], document: Mapping[str, Any]) -> bytes:
    text = PngImagePlugin.PngInfo()
    content = json.dumps(document, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    text.add_itxt(CHUNK, content, zip=True)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", pnginfo=text)
    return file.getvalue()


def _chip(path: Path, text: str, image: NDArray[np.uint8]) -> Chip:
    try:
        document = json.loads(text)
        version = document["featflow_face"]
        if version != VERSION:
            raise InputError(
                str(path), f"carries a row of version {version!r}, known is {VERSION}",
                "update featflow",
            )  # fmt: skip
        names, dtypes = zip(*document["columns"], strict=True)
        if len(document["values"]) != len(names):
            raise ValueError("columns and values differ in number")
        cells = zip(names, dtypes, document["values"], strict=True)
        row = pd.DataFrame({n: pd.Series([v], dtype=_dtype(d)) for n, d, v in cells})
        matrix = np.array(document["matrix"], np.float64).reshape(2, 3)
        if document["centring"] not in EXTRACT_RATIOS:
            raise ValueError(f"unknown centring {document['centring']!r}")
        meta = load_meta(dump_meta(document[META_KEY]))
        number = int(document["number"])
    except (KeyError, TypeError, ValueError, AttributeError, OptionError) as error:
        told = f"carries a row that cannot be read: {type(error).__name__}: {error}"
        raise InputError(str(path), told, "export it again") from error
    return Chip(image, Fex(row, meta=meta), number, matrix, document["centring"])


def _dtype(name: Any) -> str:
    if name not in ("float32", "float64", "int64", "int32", "bool", "str", "object", "string"):
        raise ValueError(f"a column of type {name!r}")
    return str(name)
