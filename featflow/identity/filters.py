"""Filters: they mark rows in ``Keep`` and ``FilterReason`` and never delete one.

A row that was marked stays marked, and reasons add up, ``"; "`` between them. Filters judge
faces: the row of a frame without a face is left as it is.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featflow.errors import OptionError, SchemaError
from featflow.fex.build import UNREADABLE
from featflow.fex.table import Fex
from featflow.identity.reference import ReferenceGallery
from featflow.identity.vectors import (
    DEFAULT_THRESHOLD,
    ROUNDING,
    check_threshold,
    embeddings_of,
    nearest,
    unit_rows,
)

Flags = NDArray[np.bool_]

_VALUE = re.compile(r" [-+]?(?:inf|[0-9.]+(?:e[-+]?[0-9]+)?)(?= is (?:below|above) )")
"""The number of the face itself in what a rule says, as in "size 0.09 is below 0.1"."""


def mark(table: pd.DataFrame, rows: Any, reason: str) -> Fex:
    """Mark rows as not wanted.

    Args:
        table: any table of faces; ``Keep`` and ``FilterReason`` are added if absent.
        rows: (N,) True for the rows to mark.
        reason: one line that says why.

    Returns:
        A new table with the same rows.

    Raises:
        OptionError: ``rows`` is not one truth value a row, or the reason is empty.
    """
    flags = np.asarray(rows)
    if flags.shape != (len(table),) or flags.dtype != np.bool_:
        raise OptionError(
            f"rows must be {len(table)} truth values, got {flags.dtype} of shape {flags.shape}"
        )
    if not reason.strip() or "\n" in reason:
        raise OptionError("reason must be one line that says why the rows are marked")
    return mark_each(table, np.where(flags, reason, ""))


def mark_each(table: pd.DataFrame, reasons: NDArray[Any]) -> Fex:
    """Mark each row for a reason of its own.

    Args:
        table: any table of faces; ``Keep`` and ``FilterReason`` are added if absent.
        reasons: (N,) one line a row; empty for a row that is not marked.
    """
    fex = Fex(table.copy())
    keep = fex["Keep"].to_numpy(bool) if "Keep" in fex else np.ones(len(fex), bool)
    old = fex["FilterReason"] if "FilterReason" in fex else pd.Series("", index=fex.index)
    before = old.fillna("").astype(str).to_numpy(object)
    added = [_joined(text, new) if new else text for text, new in zip(before, reasons, strict=True)]
    fex["Keep"] = keep & (reasons == "")
    fex["FilterReason"] = pd.Series(pd.array(added, dtype="str"), index=fex.index)
    return fex


def _joined(text: str, reason: str) -> str:
    if reason in text.split("; "):
        return text
    return f"{text}; {reason}" if text else reason


def count_marks(table: pd.DataFrame) -> pd.Series[int]:
    """How many rows each reason has marked.

    Reasons of one rule count together whatever its number was for each face. A row that was
    marked for two reasons counts for both.

    Args:
        table: any table with ``FilterReason``.

    Returns:
        Reason to number of rows, the most frequent first.

    Raises:
        SchemaError: the table has no column ``FilterReason``.
    """
    _require(table, "FilterReason")
    counts: dict[str, int] = {}
    for text, rows in table["FilterReason"].fillna("").astype(str).value_counts(sort=False).items():
        for reason in _reasons_in(str(text)):
            counts[reason] = counts.get(reason, 0) + int(rows)
    ordered = sorted(counts, key=lambda reason: (-counts[reason], reason))
    index = pd.Index(ordered, dtype="str", name="FilterReason")
    return pd.Series([counts[reason] for reason in ordered], index, "int64", "rows")


def _reasons_in(text: str) -> list[str]:
    judged, unreadable, _ = text.partition(f"{UNREADABLE}: ")
    told = [_VALUE.sub("", reason) for reason in judged.split("; ") if reason]
    return list(dict.fromkeys([*told, UNREADABLE] if unreadable else told))


def has_face(table: pd.DataFrame) -> Flags:
    """Which rows hold a face, going by ``FaceScore`` and, without it, by the box."""
    if "FaceScore" in table.columns:
        return np.asarray(table["FaceScore"].to_numpy(np.float64, na_value=np.nan) > 0)
    if "FaceRectWidth" in table.columns:
        return np.asarray(np.isfinite(table["FaceRectWidth"].to_numpy(np.float64)))
    return np.ones(len(table), bool)


def filter_faces(
    table: pd.DataFrame,
    *,
    min_score: float | None = None,
    min_size_px: float | None = None,
    min_identity_score: float | None = None,
    people: list[str] | tuple[str, ...] | None = None,
) -> Fex:
    """Mark faces by what the table says of them; all limits are inclusive.

    Args:
        table: a table of faces.
        min_score: least ``FaceScore``.
        min_size_px: least length of the longer side of the box, in original pixels.
        min_identity_score: least ``IdentityScore``; a missing score does not reach it.
        people: labels of ``Identity`` that are wanted.

    Raises:
        SchemaError: the table lacks a column that a limit is about.
    """
    fex = Fex(table.copy())
    face = has_face(table)
    if min_score is not None:
        low = ~_at_least(table, "FaceScore", min_score)
        fex = mark(fex, face & low, f"FaceScore below {min_score:g}")
    if min_size_px is not None:
        sides = ("FaceRectWidth", "FaceRectHeight")
        small = ~np.any([_at_least(table, side, min_size_px) for side in sides], axis=0)
        fex = mark(fex, face & small, f"face smaller than {min_size_px:g} px")
    if min_identity_score is not None:
        low = ~_at_least(table, "IdentityScore", min_identity_score)
        fex = mark(fex, face & low, f"IdentityScore below {min_identity_score:g}")
    if people is not None:
        _require(table, "Identity")
        other = ~table["Identity"].isin(list(people)).to_numpy(bool)
        fex = mark(fex, face & other, "not one of the people wanted")
    return fex


def filter_people(
    table: pd.DataFrame,
    wanted: ReferenceGallery | None = None,
    unwanted: ReferenceGallery | None = None,
    threshold: float = DEFAULT_THRESHOLD,
) -> Fex:
    """Mark faces by likeness to people who are wanted or not wanted.

    A face is kept if it reaches the threshold with any reference of ``wanted`` and with none
    of ``unwanted``; with one of the two galleries, that one decides. Equality reaches it.

    Args:
        table: a table of faces with ``Identity_1..D``.
        wanted, unwanted: people to keep and to leave out, at least one of the two.
        threshold: cosine similarity, -1..1.

    Raises:
        OptionError: no gallery, or one picture of a face stands in both.
        SchemaError: the galleries were made by another identity node than the table.
    """
    check_threshold(threshold)
    if wanted is None and unwanted is None:
        raise OptionError("give people who are wanted, or not wanted, or both")
    if wanted is not None and unwanted is not None:
        check_apart(wanted, unwanted)
    unit, usable = unit_rows(embeddings_of(table))
    face = has_face(table)
    fex = Fex(table.copy())
    for gallery, reason in ((wanted, "not like the people wanted"), (unwanted, "")):
        if gallery is None:
            continue
        gallery.check_made_by(table)
        cosine = np.full(len(table), np.nan, np.float32)
        index = np.zeros(len(table), np.int64)
        index[usable], cosine[usable] = nearest(unit, gallery.vectors)
        near = cosine >= threshold - ROUNDING
        if reason:
            fex = mark(fex, face & usable & ~near, reason)
            fex = mark(fex, face & ~usable, "no identity vector to compare")
            continue
        for name in gallery.people:
            same = np.array([gallery.names[i] == name for i in index], bool)
            fex = mark(fex, face & near & same, f"like {name}, who is not wanted")
    return fex


def check_apart(wanted: ReferenceGallery, unwanted: ReferenceGallery) -> None:
    """Raise :class:`OptionError` where one picture of a face stands in both galleries."""
    index, cosine = nearest(wanted.vectors, unwanted.vectors)
    both = np.flatnonzero(cosine >= 1 - ROUNDING)
    if len(both):
        row = int(both[0])
        raise OptionError(
            f"the same picture stands for {wanted.names[row]!r}, who is wanted, and for "
            f"{unwanted.names[int(index[row])]!r}, who is not; take it out of one of them"
        )


def _at_least(table: pd.DataFrame, name: str, limit: float) -> Flags:
    """Which values reach a limit; both as float32, in which a score of 0.7 is below 0.7."""
    _require(table, name)
    return np.asarray(table[name].to_numpy(np.float32, na_value=np.nan) >= np.float32(limit))


def _require(table: pd.DataFrame, name: str) -> None:
    if name not in table.columns:
        raise SchemaError(f"this filter needs the column {name}, which the table does not have")
