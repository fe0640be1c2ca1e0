"""The batch: structs of arrays for frames and for the faces found in them.

All coordinates are original-frame pixels, whatever size a frame was decoded or scaled to.
Splitting and joining are exact inverses, also for frames that hold no face and for frames
whose faces are split over two batches.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.datasets.frame import EMPTY_IMAGE, Frame
from featflow.errors import FeatflowError, SchemaError
from featflow.geometry.crop import CropRule
from featflow.geometry.similarity import compose, invert
from featflow.geometry.warp import warp_faces

Floats = NDArray[np.floating[Any]]

SHAPES: dict[str, tuple[int, ...]] = {
    "box": (4,),
    "score": (),
    "points5": (5, 2),
    "landmarks": (68, 2),
    "landmark_score": (),
    "pose": (6,),
    "mask_matrix": (2, 3),
    "gaze_score": (),
    "keep": (),
    "filter_reason": (),
}
"""Shape of one face's value in the fields that featflow's own nodes exchange."""

UNMARKED: dict[str, NDArray[Any]] = {
    "keep": np.array(True),
    "filter_reason": np.array("", object),
}
"""Value and dtype of the fields of a face that no filter has judged: it is kept."""


def absent(
    name: str,
    count: int,
    shape: tuple[int, ...] | None = None,
    dtype: np.dtype[Any] | type = np.float32,
) -> NDArray[Any]:
    """Values of ``count`` faces that have none: unmarked, NaN, or 0 where NaN cannot be written.

    Args:
        name: field.
        count: faces.
        shape: of one face's value; the declared one if None.
        dtype: of the field; marks have their own.
    """
    if name in UNMARKED:
        return np.full(count, UNMARKED[name], UNMARKED[name].dtype)
    fill = np.nan if np.dtype(dtype).kind in "fc" else 0
    return np.full((count, *(SHAPES.get(name, ()) if shape is None else shape)), fill, dtype)


@dataclass(slots=True)
class FrameBatch:
    """F frames.

    Attributes:
        images: F pictures (h, w, 3) uint8 RGB in working pixels; (0, 0, 3) where unreadable.
        sources: F paths or names.
        uids: (F,) number of each frame in its flow, counted from 0.
        indices: (F,) frame index in its source.
        times_s: (F,) presentation time in seconds, NaN for stills.
        sizes_px: (F, 2) height and width of the originals.
        scales: (F,) working pixels per original pixel.
        errors: F reasons why a frame has no picture, or None.
        cuts: F maps (2, 3) from original to working pixels, of pictures that show a part of their
            original; None for whole frames, which ``scales`` describe.
    """

    images: list[NDArray[np.uint8]]
    sources: list[str]
    uids: NDArray[np.int64]
    indices: NDArray[np.int64]
    times_s: NDArray[np.float64]
    sizes_px: NDArray[np.int64]
    scales: NDArray[np.float64]
    errors: list[FeatflowError | None]
    cuts: list[Floats | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.cuts:
            self.cuts = [None] * len(self.images)

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"FrameBatch({len(self)} frames, {self.nbytes / 1e6:.1f} MB)"

    @property
    def nbytes(self) -> int:
        """Bytes that the pictures occupy."""
        return sum(image.nbytes for image in self.images)

    @classmethod
    def from_frames(cls, frames: Sequence[Frame], first_uid: int = 0) -> FrameBatch:
        """Gather decoded frames."""
        return cls(
            images=[f.image for f in frames],
            sources=[f.source for f in frames],
            uids=np.arange(first_uid, first_uid + len(frames), dtype=np.int64),
            indices=np.array([f.index for f in frames], np.int64),
            times_s=np.array([f.time_s for f in frames], np.float64),
            sizes_px=np.array([f.size_px for f in frames], np.int64).reshape(-1, 2),
            scales=np.array([f.scale for f in frames], np.float64),
            errors=[f.error for f in frames],
            cuts=[f.cut for f in frames],
        )

    def __getitem__(self, rows: slice) -> FrameBatch:
        return FrameBatch(
            self.images[rows],
            self.sources[rows],
            self.uids[rows],
            self.indices[rows],
            self.times_s[rows],
            self.sizes_px[rows],
            self.scales[rows],
            self.errors[rows],
            self.cuts[rows],
        )

    def take(self, rows: NDArray[np.integer[Any]]) -> FrameBatch:
        """Some of the frames, by row number."""
        picked = [int(row) for row in rows]
        return FrameBatch(
            [self.images[row] for row in picked],
            [self.sources[row] for row in picked],
            self.uids[rows],
            self.indices[rows],
            self.times_s[rows],
            self.sizes_px[rows],
            self.scales[rows],
            [self.errors[row] for row in picked],
            [self.cuts[row] for row in picked],
        )

    def without_images(self) -> FrameBatch:
        """The same frames with their pictures let go; sizes and times stay."""
        return replace(self, images=[EMPTY_IMAGE] * len(self))

    @property
    def readable(self) -> NDArray[np.bool_]:
        """(F,) whether each frame has a picture."""
        return np.array([image.size > 0 for image in self.images], np.bool_)

    @classmethod
    def concat(cls, parts: Sequence[FrameBatch]) -> FrameBatch:
        """Join batches; a frame that ends one part and begins the next is kept once."""
        if not parts:
            return cls.from_frames([])
        joined = cls(
            [image for p in parts for image in p.images],
            [source for p in parts for source in p.sources],
            np.concatenate([p.uids for p in parts]),
            np.concatenate([p.indices for p in parts]),
            np.concatenate([p.times_s for p in parts]),
            np.concatenate([p.sizes_px for p in parts]),
            np.concatenate([p.scales for p in parts]),
            [error for p in parts for error in p.errors],
            [cut for p in parts for cut in p.cuts],
        )
        again = joined.uids[1:] == joined.uids[:-1]
        return joined.take(np.flatnonzero(np.r_[True, ~again])) if again.any() else joined


@dataclass(slots=True)
class FaceBatch:
    """N faces.

    Attributes:
        frame_uid: (N,) uid of the frame that holds each face, never falling.
        fields: name to array with N rows: ``box`` (N, 4) x0, y0, x1, y1 original pixels,
            ``score`` (N,) 0..1, ``points5`` (N, 5, 2), ``landmarks`` (N, 68, 2),
            ``pose`` (N, 6) pitch, roll, yaw in radians and x, y, z, and what else nodes provide.
    """

    frame_uid: NDArray[np.int64]
    fields: dict[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.frame_uid)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {value.shape}" for name, value in self.fields.items())
        return f"FaceBatch({len(self)} faces: {shapes})"

    @classmethod
    def empty(cls, fields: Iterable[str] = ("box", "score", "points5")) -> FaceBatch:
        """No faces, with the named fields present and empty."""
        return cls(np.zeros(0, np.int64), {name: absent(name, 0) for name in fields})

    @property
    def box(self) -> Floats:
        """(N, 4) x0, y0, x1, y1 in original pixels."""
        return self.fields["box"]

    @property
    def score(self) -> Floats:
        """(N,) detector's confidence, 0..1."""
        return self.fields["score"]

    @property
    def points5(self) -> Floats:
        """(N, 5, 2) eyes, nose tip, mouth corners, image left first; NaN where unknown."""
        return self._or_nan("points5")

    @property
    def landmarks(self) -> Floats:
        """(N, 68, 2) iBUG-68 points in original pixels; NaN where unknown."""
        return self._or_nan("landmarks")

    def _or_nan(self, name: str) -> Floats:
        if name in self.fields:
            return self.fields[name]
        return np.full((len(self), *SHAPES[name]), np.nan, np.float32)

    def __getitem__(self, rows: slice | NDArray[Any]) -> FaceBatch:
        return FaceBatch(self.frame_uid[rows], {k: v[rows] for k, v in self.fields.items()})

    def updated(self, fields: Mapping[str, NDArray[Any]]) -> FaceBatch:
        """A batch of the same faces with fields added or replaced."""
        return FaceBatch(self.frame_uid, {**self.fields, **fields})

    @classmethod
    def concat(cls, parts: Sequence[FaceBatch]) -> FaceBatch:
        """Join batches that have the same fields; a part without faces adds nothing.

        Raises:
            SchemaError: parts that hold faces have different fields.
        """
        kept = [part for part in parts if len(part)] or list(parts[:1])
        if len(kept) < 2:
            return kept[0] if kept else cls.empty()
        names = kept[0].fields.keys()
        for part in kept[1:]:
            if part.fields.keys() != names:
                raise SchemaError(
                    f"faces with fields {sorted(names)} cannot be joined to faces "
                    f"with fields {sorted(part.fields)}"
                )
        return cls(
            np.concatenate([p.frame_uid for p in kept]),
            {name: np.concatenate([p.fields[name] for p in kept]) for name in names},
        )


@dataclass(slots=True)
class Batch:
    """Frames and the faces in them, as they travel through a flow.

    Attributes:
        frames: the frames, in input order.
        faces: the faces, in the order of their frames.
        min_score: faces below this detector score are not wanted in this run.
    """

    frames: FrameBatch
    faces: FaceBatch = field(default_factory=FaceBatch.empty)
    min_score: float = 0.5
    _crops: dict[CropRule, NDArray[np.uint8]] = field(default_factory=dict, repr=False)

    @property
    def frame_rows(self) -> NDArray[np.int64]:
        """(N,) row in ``frames`` of each face."""
        return np.searchsorted(self.frames.uids, self.faces.frame_uid).astype(np.int64)

    @property
    def frame_sizes_px(self) -> NDArray[np.int64]:
        """(N, 2) height and width of the original frame of each face."""
        return self.frames.sizes_px[self.frame_rows]

    def crops(self, rule: CropRule) -> NDArray[np.uint8]:
        """Crops of all faces by one rule, (N, size, size, 3) uint8 RGB, cut once and shared."""
        if rule not in self._crops:
            rows = self.frame_rows
            matrices = compose(rule.matrices(self.faces), self.to_faces(rows))
            self._crops[rule] = warp_faces(
                self.frames.images, rows, matrices, rule.size, rule.outside
            )
        return self._crops[rule]

    def to_faces(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """From the working pixels of the frames ``rows`` to the faces' coordinates, (N, 2, 3)."""
        to_original = np.zeros((len(rows), 2, 3))
        to_original[:, 0, 0] = to_original[:, 1, 1] = 1.0 / self.frames.scales[rows]
        for face, row in enumerate(rows.tolist()):
            cut = self.frames.cuts[row]
            if cut is not None:
                to_original[face] = invert(cut)
        return to_original

    def with_faces(self, faces: FaceBatch) -> Batch:
        """The same frames with other faces; crops of the old ones are forgotten."""
        return replace(self, faces=faces, _crops={})

    def with_crops(self, crops: Mapping[CropRule, NDArray[np.uint8]]) -> Batch:
        """The same faces with some crops replaced; this batch keeps its own."""
        return replace(self, _crops={**self._crops, **crops})

    def with_fields(self, fields: Mapping[str, NDArray[Any]]) -> Batch:
        """The same faces with fields added; crops stay valid and are kept."""
        return Batch(self.frames, self.faces.updated(fields), self.min_score, self._crops)

    def take_faces(self, rows: slice | NDArray[Any]) -> Batch:
        """The same frames with some of their faces, and the crops already cut of those."""
        # Copied first: a node that runs beside this one may be adding a crop.
        crops = {rule: crop[rows] for rule, crop in dict(self._crops).items()}
        return Batch(self.frames, self.faces[rows], self.min_score, crops)

    def take_frames(self, start: int, stop: int) -> Batch:
        """Frames ``start`` to ``stop`` with all their faces."""
        uids = self.frames.uids
        first, last = (
            int(np.searchsorted(self.faces.frame_uid, uids[at])) if at < len(uids) else None
            for at in (start, stop)
        )
        rows = slice(len(self.faces) if first is None else first, last)
        return replace(self.take_faces(rows), frames=self.frames[start:stop])

    def split(self, faces: int) -> tuple[Batch, Batch]:
        """Cut after a number of faces; :meth:`concat` of the two gives this batch again.

        The first part has the frames up to the one that holds its last face. A frame with
        faces on both sides is in both parts.
        """
        rows = self.frame_rows
        stop = int(rows[faces - 1]) + 1 if faces else 0
        start = int(rows[faces]) if faces < len(rows) and rows[faces] == stop - 1 else stop
        head = replace(self.take_faces(slice(0, faces)), frames=self.frames[:stop])
        tail = replace(self.take_faces(slice(faces, None)), frames=self.frames[start:])
        return head, tail

    @classmethod
    def concat(cls, parts: Sequence[Batch]) -> Batch:
        """Join batches in stream order; crops that every part with faces has are kept."""
        if len(parts) == 1:
            return parts[0]
        faces = FaceBatch.concat([part.faces for part in parts])
        frames = FrameBatch.concat([part.frames for part in parts])
        crops = [part._crops for part in parts if len(part.faces)]
        shared = {
            rule: np.concatenate([each[rule] for each in crops])
            for rule in (crops[0] if crops else {})
            if all(rule in each for each in crops)
        }
        return cls(frames, faces, parts[0].min_score, shared)

    def released(self, images: bool, keep_crops: Collection[CropRule]) -> Batch:
        """The same rows without the pictures, or the crops, that nothing asks for any more."""
        frames = self.frames.without_images() if images else self.frames
        crops = {rule: self._crops[rule] for rule in keep_crops if rule in self._crops}
        return Batch(frames, self.faces, self.min_score, crops)
