"""From batches to the table: one block of numbers, one table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featflow.errors import FeatflowError, SchemaError
from featflow.fex.masks import BOX, SCHEMA, Masks, pack_masks
from featflow.fex.schema import DECISION, GROUPS, SOURCE, Group
from featflow.fex.table import Fex
from featflow.flow.batch import Batch, FaceBatch, FrameBatch

Floats = NDArray[np.floating[Any]]

_MADE_BY_FACES = tuple(g for g in GROUPS.values() if g not in (SOURCE, DECISION))
_TEXT_FIELDS = frozenset({"identity"})


UNREADABLE = "unreadable"
"""How the ``FilterReason`` of a frame that could not be read begins."""


def fex_from_batches(
    batches: Batch | Iterable[Batch],
    meta: Mapping[str, Any] | None = None,
    *,
    fields: Iterable[str] | None = None,
    embedding_size: int | None = None,
) -> Fex:
    """Make a table of the faces in batches.

    One row a face, in the order of the batches. A frame without a face is one row with
    missing predictions and score 0. A frame that could not be read is one row whose score is
    missing too, with ``Keep`` False and the reason in ``FilterReason``. Faces that have the
    fields ``keep`` and ``filter_reason`` are marked as these say. The fields ``mask`` and
    ``mask_matrix`` become the masks of the table, see :meth:`Fex.mask`.

    Args:
        batches: one batch, or several in order; a frame that ends one and begins the next
            is one frame.
        meta: see :func:`featflow.fex.meta.new_meta`.
        fields: fields that the nodes of the run provide; they decide which groups are there.
            Those of the batches if None, so pass it where a batch may hold no face.
        embedding_size: length of the identity vector, needed where ``fields`` names
            ``embedding`` and no batch has any.

    Returns:
        The table: float32 predictions, float64 ``time``, int64 ``frame`` and sizes.

    Raises:
        SchemaError: faces lack a field that ``fields`` or another batch has.
    """
    parts = [batches] if isinstance(batches, Batch) else list(batches)
    if not parts:
        raise SchemaError("no batch was given; use empty_fex for a table without rows")
    frames = parts[0].frames if len(parts) == 1 else FrameBatch.concat([p.frames for p in parts])
    have = dict.fromkeys(name for part in parts for name in part.faces.fields)
    wanted = frozenset(have if fields is None else fields)
    faces = _join_faces([part.faces for part in parts], wanted)
    if "embedding" in faces.fields:
        embedding_size = int(np.prod(faces.fields["embedding"].shape[1:]))
    fex = Fex(_assemble(frames, faces, wanted, embedding_size or 0))
    if meta is not None:
        fex.meta = meta
    if {"mask", "mask_matrix"} <= wanted:
        fex._masks = (_masks_of(faces, fex),)
    return fex


def _masks_of(faces: FaceBatch, fex: Fex) -> Masks:
    """Masks of faces that are the rows of ``fex`` with a box, in the same order."""
    if not len(faces):
        return Masks(SCHEMA.empty_table())
    rows = fex[fex[list(BOX)].notna().all(axis=1)]
    centring = str(fex.meta.get("mask", {}).get("centring", ""))
    return pack_masks(rows, faces.fields["mask"], faces.fields["mask_matrix"], centring)


def empty_fex(
    fields: Iterable[str], meta: Mapping[str, Any] | None = None, *, embedding_size: int = 0
) -> Fex:
    """A table without rows, with the columns that a run with these fields has."""
    nothing = Batch(FrameBatch.from_frames([]), FaceBatch(np.zeros(0, np.int64)))
    return fex_from_batches(nothing, meta, fields=fields, embedding_size=embedding_size)


def _join_faces(parts: Sequence[FaceBatch], wanted: frozenset[str]) -> FaceBatch:
    """Faces of all parts, with the wanted fields; parts without faces may lack them."""
    for part in parts:
        missing = sorted(wanted - part.fields.keys()) if len(part) else []
        if missing:
            raise SchemaError(f"faces have no field {', '.join(missing)}, which the run provides")
    full = [part for part in parts if len(part)] or [parts[0]]
    uids = np.concatenate([part.frame_uid for part in full])
    names = [name for name in wanted if all(name in part.fields for part in full)]
    return FaceBatch(uids, {n: _rows([part.fields[n] for part in full]) for n in names})


def _rows(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _assemble(
    frames: FrameBatch, faces: FaceBatch, wanted: frozenset[str], embedding: int
) -> pd.DataFrame:
    row_of_face = np.searchsorted(frames.uids, faces.frame_uid)
    counts = np.bincount(row_of_face, minlength=len(frames))
    frame_of_row = np.repeat(np.arange(len(frames)), np.maximum(counts, 1))
    has_face = counts[frame_of_row] > 0
    names, score_at = _float_columns(wanted, embedding)
    block = np.full((len(frame_of_row), len(names)), np.nan, np.float32)
    if len(faces):
        block[has_face] = _pack(faces, wanted)
    reasons = _reasons(frames.errors)
    readable = np.array([not reason for reason in reasons], bool)[frame_of_row]
    if score_at is not None:
        block[~has_face & readable, score_at] = 0.0
    source = _source_columns(frames, frame_of_row)
    texts = _text_columns(faces, wanted, has_face)
    decision = {"Keep": readable, "FilterReason": _texts(reasons, frame_of_row)}
    if len(faces):
        decision.update(_marks(faces, wanted, has_face, decision))
    parts = [pd.DataFrame(source), pd.DataFrame(block, columns=names)]
    table = pd.concat([*parts, pd.DataFrame({**texts, **decision})], axis=1)
    return table if not texts else table[list(_column_order(wanted, embedding))]


def _source_columns(frames: FrameBatch, rows: NDArray[np.int64]) -> dict[str, Any]:
    return {
        "input": _texts(frames.sources, rows),
        "frame": frames.indices[rows],
        "time": frames.times_s[rows],
        "FrameHeight": frames.sizes_px[rows, 0],
        "FrameWidth": frames.sizes_px[rows, 1],
    }


def _text_columns(
    faces: FaceBatch, wanted: frozenset[str], has_face: NDArray[np.bool_]
) -> dict[str, Any]:
    columns = {}
    for group in _MADE_BY_FACES:
        for name, field in group.single_fields.items():
            if field in wanted & _TEXT_FIELDS:
                values = np.full(len(has_face), None, object)
                if len(faces):
                    values[has_face] = faces.fields[field]
                columns[name] = pd.array(values, dtype="str")
    return columns


def _marks(
    faces: FaceBatch,
    wanted: frozenset[str],
    has_face: NDArray[np.bool_],
    columns: Mapping[str, Any],
) -> dict[str, Any]:
    """Decision columns with the marks of the faces; a frame without a face keeps its own."""
    marked = {}
    for name, field in DECISION.single_fields.items():
        if field in wanted:
            values = np.array(columns[name], object)
            values[has_face] = faces.fields[field]
            marked[name] = pd.array(values, dtype=columns[name].dtype)
    return marked


def _texts(values: Sequence[str], rows: NDArray[np.int64]) -> Any:
    """A text a row. Frames share few texts, so one conversion a text and then a lookup."""
    unique = list(dict.fromkeys(values))
    code_of = {text: code for code, text in enumerate(unique)}
    codes = np.array([code_of[text] for text in values], np.int64)
    return pd.array(unique, dtype="str").take(codes[rows])


def _reasons(errors: Sequence[FeatflowError | None]) -> list[str]:
    return ["" if error is None else unreadable_reason(error) for error in errors]


def unreadable_reason(error: FeatflowError) -> str:
    """``FilterReason`` of a frame that could not be read, one line."""
    told = " ".join(str(getattr(error, "reason", "") or error).split())
    return f"{UNREADABLE}: {told}"


def _pack(faces: FaceBatch, wanted: frozenset[str]) -> Floats:
    """(N, columns) numbers of the faces, in the order of :func:`_float_columns`."""
    pieces: list[Floats] = []
    for group in _MADE_BY_FACES:
        if group.field in wanted:
            pieces.append(group.pack(faces.fields[group.field]))
        numbers = [field for field in group.single_fields.values() if _number(field, wanted)]
        pieces.extend(faces.fields[field].reshape(-1, 1) for field in numbers)
    return np.concatenate(pieces, 1) if pieces else np.zeros((len(faces), 0), np.float32)


def _number(field: str, wanted: frozenset[str]) -> bool:
    return field in wanted and field not in _TEXT_FIELDS


def _float_names(group: Group, wanted: frozenset[str], embedding: int) -> list[str]:
    packed = list(group.packed_names(embedding)) if group.field in wanted else []
    return packed + [n for n, f in group.single_fields.items() if _number(f, wanted)]


@lru_cache(maxsize=64)
def _float_columns(wanted: frozenset[str], embedding: int) -> tuple[pd.Index[str], int | None]:
    names = [n for group in _MADE_BY_FACES for n in _float_names(group, wanted, embedding)]
    return pd.Index(names), names.index("FaceScore") if "FaceScore" in names else None


@lru_cache(maxsize=64)
def _column_order(wanted: frozenset[str], embedding: int) -> tuple[str, ...]:
    """All columns with the text columns at their place in the schema."""
    order = list(SOURCE.names())
    for group in _MADE_BY_FACES:
        texts = [n for n, f in group.single_fields.items() if f in wanted & _TEXT_FIELDS]
        order += texts + _float_names(group, wanted, embedding)
    return (*order, *DECISION.names())
