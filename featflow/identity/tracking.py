"""Tracks: one number for a face as long as it stays in view, and one label for a track."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featflow.errors import OptionError, SchemaError
from featflow.fex.schema import IDENTITY_EMBEDDING
from featflow.geometry.boxes import from_xywh, iou
from featflow.identity.order import appearance_order, input_codes
from featflow.identity.vectors import embeddings_of, unit_rows

Floats = NDArray[np.floating[Any]]
Rows = NDArray[np.int64]

BOX_COLUMNS = ("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight")


@dataclass(frozen=True, slots=True)
class TrackRule:
    """When a face goes on the track of an earlier one.

    Attributes:
        min_iou: least overlap of the two boxes.
        min_similarity: least cosine similarity of the two embeddings, where both have one.
        max_gap: most frames of the table between the two, so 1 is the next frame.
        max_gap_s: most seconds between the two, where the times are known.
    """

    min_iou: float = 0.3
    min_similarity: float = 0.3
    max_gap: int = 5
    max_gap_s: float = 2.0

    def __post_init__(self) -> None:
        if not 0.0 < self.min_iou <= 1.0:
            raise OptionError(f"min_iou must lie in 0..1 and above 0, got {self.min_iou}")
        if not -1.0 <= self.min_similarity <= 1.0:
            raise OptionError(f"min_similarity must lie in -1..1, got {self.min_similarity}")
        if self.max_gap < 1 or self.max_gap_s <= 0:
            raise OptionError(
                f"max_gap must be at least 1 and max_gap_s above 0, got {self.max_gap} "
                f"and {self.max_gap_s}"
            )


def track_faces(table: pd.DataFrame, rule: TrackRule | None = None) -> Rows:
    """Follow faces from frame to frame.

    In each frame the open tracks and the faces are paired so that the sum of overlaps (and of
    similarities, where there are embeddings) is largest. A track ends after ``max_gap`` frames
    without its face. Tracks never lead from one input to another.

    Args:
        table: rows with ``frame`` and the four ``FaceRect`` columns, in any order; ``input``,
            ``time`` and ``Identity_1..D`` are used where they are there.
        rule: when a face goes on a track; the defaults of :class:`TrackRule` if None.

    Returns:
        (N,) track of each row, numbered from 0 by first appearance; -1 for a row without a box.

    Raises:
        SchemaError: the table has no ``frame`` or no boxes.
    """
    missing = [name for name in ("frame", *BOX_COLUMNS) if name not in table.columns]
    if missing:
        raise SchemaError(f"faces cannot be tracked without the columns {', '.join(missing)}")
    tracks = np.full(len(table), -1, np.int64)
    if not len(table):
        return tracks
    order = appearance_order(table)
    inputs = input_codes(table)[order]
    tracker = _Tracker(table, rule or TrackRule())
    frames = table["frame"].to_numpy(np.float64, na_value=np.nan)[order]
    starts = np.flatnonzero(np.r_[True, (inputs[1:] != inputs[:-1]) | (frames[1:] != frames[:-1])])
    for start, stop in zip(starts, np.r_[starts[1:], len(order)], strict=True):
        if start and inputs[start] != inputs[start - 1]:
            tracker.close()
        rows = order[start:stop]
        tracks[rows] = tracker.step(rows)
    return tracks


@dataclass(slots=True)
class _Track:
    number: int
    box: Floats
    vector: Floats
    step: int
    time_s: float


class _Tracker:
    """Tracks that are open, and the faces of one table."""

    def __init__(self, table: pd.DataFrame, rule: TrackRule) -> None:
        self.rule = rule
        sizes = table[list(BOX_COLUMNS)].to_numpy(np.float64, na_value=np.nan)
        self.boxes = from_xywh(sizes)
        self.visible = np.isfinite(sizes).all(1)
        self.times_s = np.full(len(table), np.nan)
        if "time" in table.columns:
            self.times_s = table["time"].to_numpy(np.float64, na_value=np.nan)
        self.vectors = np.full((len(table), 1), np.nan, np.float32)
        if IDENTITY_EMBEDDING.present(table.columns):
            unit, usable = unit_rows(embeddings_of(table))
            self.vectors = np.full((len(table), unit.shape[1]), np.nan, np.float32)
            self.vectors[usable] = unit
        self.open: list[_Track] = []
        self.steps = 0
        self.count = 0

    def close(self) -> None:
        """End all tracks."""
        self.open = []

    def step(self, rows: Rows) -> Rows:
        """Tracks of the faces of the next frame."""
        self.steps += 1
        found = np.full(len(rows), -1, np.int64)
        faces = np.flatnonzero(self.visible[rows])
        time_s = float(self.times_s[rows[0]])
        self.open = [t for t in self.open if self._in_reach(t, time_s)]
        pairs = self._pairs(rows[faces]) if self.open and len(faces) else {}
        for face in range(len(faces)):
            row = int(rows[faces[face]])
            track = self.open[pairs[face]] if face in pairs else self._begin(row)
            track.box, track.step, track.time_s = self.boxes[row], self.steps, time_s
            if np.isfinite(self.vectors[row, 0]):
                track.vector = self.vectors[row]
            found[faces[face]] = track.number
        return found

    def _in_reach(self, track: _Track, time_s: float) -> bool:
        late = time_s - track.time_s > self.rule.max_gap_s  # False where a time is missing
        return not late and self.steps - track.step <= self.rule.max_gap

    def _begin(self, row: int) -> _Track:
        track = _Track(self.count, self.boxes[row], self.vectors[row], self.steps, np.nan)
        self.open.append(track)
        self.count += 1
        return track

    def _pairs(self, rows: Rows) -> dict[int, int]:
        """Face of the frame to open track."""
        from scipy.optimize import linear_sum_assignment

        overlap = iou(self.boxes[rows], np.stack([t.box for t in self.open]))
        alike = self.vectors[rows] @ np.stack([t.vector for t in self.open]).T
        known = np.isfinite(alike)
        allowed = overlap >= self.rule.min_iou
        allowed &= ~known | (alike >= self.rule.min_similarity)
        worth = np.where(allowed, overlap + np.where(known, alike + 1.0, 1.0), 0.0)
        one, other = linear_sum_assignment(worth, maximize=True)
        pairs = zip(one.tolist(), other.tolist(), strict=True)
        return {face: track for face, track in pairs if allowed[face, track]}


def vote(labels: NDArray[np.integer[Any]], tracks: NDArray[np.integer[Any]]) -> Rows:
    """Give every labelled face of a track the label that most of them have.

    Args:
        labels: (N,) labels from 0; below 0 for faces without one, which neither vote nor change.
        tracks: (N,) tracks; below 0 for faces on none, which do not change.

    Returns:
        (N,) labels; of equally frequent ones the lowest wins.
    """
    result = np.array(labels, np.int64)
    voters = np.flatnonzero((result >= 0) & (np.asarray(tracks) >= 0))
    if not len(voters):
        return result
    pairs = np.stack([np.asarray(tracks)[voters], result[voters]], 1)
    names, inverse, counts = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    ranked = np.lexsort((names[:, 1], -counts, names[:, 0]))
    firsts = np.r_[True, np.diff(names[ranked, 0]) != 0]
    winner = ranked[np.maximum.accumulate(np.where(firsts, np.arange(len(ranked)), 0))]
    label_of = np.empty(len(names), np.int64)
    label_of[ranked] = names[winner, 1]
    result[voters] = label_of[inverse.ravel()]
    return result


def tracks_of(table: pd.DataFrame, track: bool | None) -> Rows | None:
    """Tracks of the rows if they are wanted; None asks for them where the table allows it."""
    able = {"frame", *BOX_COLUMNS} <= set(table.columns)
    return track_faces(table) if track or (track is None and able) else None


def vote_or_unknown(codes: Rows, tracks: Rows) -> Rows:
    """:func:`vote` in which -1 (unknown) is a label too, one that loses every tie."""
    unknown = codes.max(initial=-1) + 1
    voted = vote(np.where(codes < 0, unknown, codes), tracks)
    return np.where(voted == unknown, -1, voted)
