"""A run over faces that a table holds already: its rows take the place of detection.

Only frames that hold a face are read again, and only where a node looks at pictures. The
table's rows stay as they are and in their order; nodes add columns or replace them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featflow.datasets.frame import Frame
from featflow.errors import FeatflowError, OptionError, SchemaError, UnmetNeedsError
from featflow.extract.chips import ChipIndex, read_faces
from featflow.fex.build import unreadable_reason
from featflow.fex.io import read_fex, save_fex
from featflow.fex.masks import KEY, Masks, pack_masks
from featflow.fex.meta import new_meta
from featflow.fex.table import Fex
from featflow.fex.unpack import fields_of, set_fields
from featflow.flow import Flow
from featflow.flow.batch import Batch, FaceBatch, FrameBatch
from featflow.geometry.landmarks import box_of_landmarks, five_points
from featflow.identity.filters import has_face, mark_each
from featflow.pictures import FrameIndex
from featflow.runs import RunOptions, hides_progress
from featflow.slots import centring

if TYPE_CHECKING:
    from featflow.detector import Detector

ROW = "table_row"
"""Field that says which row of the table a face is."""

_GEOMETRY = ("box", "points5", "landmarks")
_MARKS = ("keep", "filter_reason")


@dataclass
class TableRun:
    """A detector's nodes over the faces of a table.

    Args:
        detector: has no face node.
        table: faces, a file that holds them, or a folder of aligned faces that
            :func:`featflow.extract.export_faces` wrote; then nodes see these, and the pictures
            that they were cut from are not needed.
        options: ``batch_size`` and ``on_error`` count; the rest is about detection.
        pictures: where inputs are now, if not where the table says: value of ``input`` to a
            path, an array or a list of frames.

    Attributes:
        failures: pictures that could not be read again.
        frames: the frames that hold faces.

    Raises:
        OptionError: the detector finds faces itself.
        UnmetNeedsError: a node requires what neither the table nor another node provides.
        SchemaError: the table does not say where its faces are.
    """

    detector: Detector
    table_in: pd.DataFrame | str | Path
    options: RunOptions = field(default_factory=RunOptions)
    pictures: Mapping[str, Any] = field(default_factory=dict)
    failures: list[FeatflowError] = field(default_factory=list)

    def __post_init__(self) -> None:
        finders = [node.id for node in self.detector.nodes.values() if node.unit == "frame"]
        if finders:
            raise OptionError(
                f"{', '.join(finders)} finds faces, but the table's rows are the faces; make the "
                f"detector with face=None"
            )
        self.source, aligned = self._read_source()
        self.rows = np.flatnonzero(has_face(self.source)).astype(np.int64)
        self.nodes = list(self.detector.nodes.values())
        self._given = self._given_fields() if self.nodes else {}
        self.flow = self._make_flow()
        self.frames = self._find_frames(aligned) if self.nodes else None

    def table(self, save: str | Path | None = None, progress_bar: bool = True) -> Fex:
        """Run to the end and return the whole table, saved if asked."""
        fex = self.source.copy()
        if self.nodes:
            self.detector.load()
            fex = self._with_results(self._results(progress_bar))
        if save is not None:
            save_fex(fex, save)
        return fex

    def batches(self) -> Iterator[Batch]:
        """Frames with faces and all fields that the nodes gave, masks included."""
        with closing(self.flow.run(self._stream())) as finished:
            yield from finished

    # --- in -----------------------------------------------------------------------------

    def _read_source(self) -> tuple[Fex, bool]:
        """The table, and whether its rows lie in pictures of aligned faces."""
        if not isinstance(self.table_in, (str, Path)):
            return Fex(self.table_in), False
        if not Path(self.table_in).is_dir():
            return read_fex(self.table_in), False
        if self.pictures:
            raise OptionError("a folder of aligned faces has its pictures; leave pictures= out")
        return read_faces(self.table_in), True

    def _find_frames(self, aligned: bool) -> FrameIndex | ChipIndex:
        if aligned and self._reads_pictures:
            return ChipIndex([str(path) for path in self.source.index[self.rows]])
        return FrameIndex.of(self.source, self.rows)

    @property
    def _reads_pictures(self) -> bool:
        return any(node.needs_frames for node in self.nodes)

    def _found_frames(self) -> Iterator[tuple[Frame, NDArray[np.int64]]]:
        if isinstance(self.frames, ChipIndex):
            return self.frames.read()
        assert self.frames is not None  # noqa: S101 - for the type checker
        return self.frames.read(self._reads_pictures, self.pictures)

    def _given_fields(self) -> dict[str, NDArray[Any]]:
        """What the nodes read of the faces, one row a face, as far as no node makes it."""
        have = fields_of(self.source.iloc[self.rows])
        if "landmarks" in have:
            have.setdefault("box", box_of_landmarks(have["landmarks"]).astype(np.float32))
            have["points5"] = five_points(have["landmarks"]).astype(np.float32)
        elif "box" in have:
            # Crops fall back on the box where five points are unknown.
            have["points5"] = np.full((len(self.rows), 5, 2), np.nan, np.float32)
        made = {name for node in self.nodes for name in node.provides}
        read = {*_GEOMETRY, *(name for node in self.nodes for name in node.requires)} - made
        return {name: values for name, values in have.items() if name in read}

    def _make_flow(self) -> Flow:
        try:
            return Flow(
                self.nodes,
                given=(*self._given, ROW),
                mode=self.detector.mode,
                frame_batch=self.options.frames,
                face_batch=self.detector.batch_sizes or None,
            )
        except UnmetNeedsError as error:
            known = ", ".join(self._given) or "nothing that a node reads"
            raise UnmetNeedsError(f"{error}; the table has {known}") from error

    def _stream(self) -> Iterator[Batch]:
        """Frames with their faces, a batch at a time."""
        frames: list[Frame] = []
        faces: list[NDArray[np.int64]] = []
        for frame, members in self._found_frames():
            if frame.error is not None:
                self._fail(frame.error)
            frames.append(frame)
            faces.append(members)
            if len(frames) == self.options.frames:
                yield self._batch(frames, faces)
                frames, faces = [], []
        if frames:
            yield self._batch(frames, faces)

    def _fail(self, error: FeatflowError) -> None:
        if self.options.on_error == "raise":
            raise error
        if error not in self.failures:
            self.failures.append(error)

    def _batch(self, frames: list[Frame], faces: list[NDArray[np.int64]]) -> Batch:
        uids = np.repeat(np.arange(len(frames)), [len(members) for members in faces])
        chosen = np.concatenate(faces)
        fields = {name: values[chosen] for name, values in self._given.items()}
        return Batch(
            FrameBatch.from_frames(frames), FaceBatch(uids, {**fields, ROW: self.rows[chosen]})
        )

    # --- out ----------------------------------------------------------------------------

    def _results(self, progress_bar: bool) -> list[Batch]:
        from tqdm.auto import tqdm

        total = len(self.frames or ())
        done = []
        with tqdm(total=total, unit="frame", disable=hides_progress(progress_bar)) as bar:
            for batch in self.batches():
                done.append(batch)
                bar.update(len(batch.frames))
        return done

    def _with_results(self, batches: list[Batch]) -> Fex:
        made = [name for node in self.nodes for name in node.provides]
        rows = _joined(batches, ROW) if batches else np.zeros(0, np.int64)
        fields = {name: _joined(batches, name) for name in made} if batches else {}
        marks = {name: fields.pop(name) for name in _MARKS if name in fields}
        fex = set_fields(self.source, fields, rows)
        if "mask_matrix" in fields:
            fex._masks = (self._masks(fields, rows), *fex._masks)
        if marks:
            fex = _marked(fex, rows, marks)
        fex = self._without_unreadable(fex, batches)
        fex.meta = self._meta()
        naming = self.detector.naming
        return fex if naming is None else naming(fex)

    def _masks(self, fields: Mapping[str, NDArray[Any]], rows: NDArray[np.int64]) -> Masks:
        """Masks of the faces; they come before those that the table had."""
        absent = [name for name in KEY if name not in self.source]
        if absent:
            raise SchemaError(f"masks are kept by {', '.join(KEY)}; the table has no {absent}")
        named = centring(self.detector.nodes["mask"])
        return pack_masks(self.source.iloc[rows], fields["mask"], fields["mask_matrix"], named)

    def _without_unreadable(self, fex: Fex, batches: list[Batch]) -> Fex:
        """Rows of pictures that could not be read, marked or left out."""
        reasons = np.full(len(fex), "", object)
        for batch in batches:
            for row, error in enumerate(batch.frames.errors):
                if error is not None:
                    own = batch.faces.frame_uid == batch.frames.uids[row]
                    reasons[batch.faces.fields[ROW][own]] = unreadable_reason(error)
        if not (reasons != "").any():
            return fex
        if self.options.on_error == "skip":
            return Fex(fex[reasons == ""])
        return mark_each(fex, reasons)

    def _meta(self) -> dict[str, Any]:
        """Metadata of the table with this run's nodes, and a step that tells of it."""
        before = dict(self.source.meta) or new_meta()
        now = self.detector.meta()
        nodes = {**before.get("nodes", {}), **now["nodes"]}
        weights = {**before.get("weights", {}), **now["weights"]}
        step = {"step": "detect_from", "nodes": now["nodes"], **now["options"]}
        errors = [
            {
                "input": str(getattr(e, "source", "")),
                "error": type(e).__name__,
                "reason": str(e),
            }
            for e in self.failures
        ]
        return {
            **before,
            **({"mask": now["mask"]} if "mask" in now else {}),
            "nodes": nodes,
            "weights": {k: v for k, v in weights.items() if k in nodes.values()},
            "provenance": [*before.get("provenance", []), step],
            **({"errors": [*before.get("errors", []), *errors]} if errors else {}),
        }


def _joined(batches: list[Batch], name: str) -> NDArray[Any]:
    return np.concatenate([batch.faces.fields[name] for batch in batches])


def _marked(fex: Fex, rows: NDArray[np.int64], marks: Mapping[str, NDArray[Any]]) -> Fex:
    """Add the marks of faces to those that their rows have."""
    reasons = np.full(len(fex), "", object)
    reasons[rows] = marks["filter_reason"]
    return mark_each(fex, reasons)
