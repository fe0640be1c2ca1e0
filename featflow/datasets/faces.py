"""Faces read back from a table: aligned crops, masks and any columns as targets."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from featflow.datasets.chips import ChipFile, chip_key, cut_source, default_cache, split_layers
from featflow.datasets.face_table import TableFaces, Targets, read_targets
from featflow.errors import (
    AbsentGroupError,
    InputError,
    MissingInputError,
    OptionError,
    SchemaError,
)
from featflow.fex.io import read_fex
from featflow.fex.masks import StoredMask
from featflow.fex.table import Fex
from featflow.geometry.crop import CropRule
from featflow.geometry.hull_masks import PART_NAMES, hull_masks
from featflow.geometry.similarity import apply, compose, invert
from featflow.geometry.warp import warp

log = logging.getLogger("featflow")

Sample = dict[str, Tensor]
Policy = Literal["raise", "skip"]
Rows = NDArray[np.int64]
Stored = Sequence[StoredMask | None]

STORED = "stored"
"""Name of the masks that a mask node left with the table."""

DEFAULT_CROP = CropRule.centred(128, "face", outside="replicate")


@dataclass(frozen=True, slots=True)
class Skipped:
    """A source that was left out.

    Attributes:
        source: as the table names it.
        rows: how many faces went with it.
        error: why.
    """

    source: str
    rows: int
    error: InputError


class FaceDataset(Dataset[Sample]):
    """Aligned crops of the faces of a table.

    A sample has ``crop`` (S, S, 3) uint8 RGB, ``row`` (the position in the table), ``points``
    (68, 2) float32 crop pixels where the table has landmarks, ``mask`` (M, S, S) uint8 where
    masks are asked for, and ``targets`` (T,) float32 where columns are.

    Rows without a face, with ``Keep`` False, or whose crop cannot be placed are left out;
    ``left_out`` counts them by reason. Crops are cut when the dataset is made, each clip in one
    pass, and kept in a cache that may be deleted when no dataset uses it.

    Args:
        fex: a Fex, or the file of one.
        targets: columns to learn; texts become class numbers, see :class:`Targets`.
        crop: size and place of the crop; ``CropRule.centred`` has the centrings.
        mask: names of masks: ``stored`` for those that a mask node left with the table, or parts
            that landmarks give (``face``, ``eyes``, ``mouth``, ``components``, ``extended``, ...).
        root: folder that relative paths of the table start from; the working folder if None.
        missing: sources that are gone or unreadable are raised, or skipped and listed in
            ``skipped``.
        unlabelled: rows whose targets are missing are raised, skipped, or kept as NaN.
        cache: folder of the crops; ``$FEATFLOW_HOME/chips`` if None.
        progress: called with sources done and sources in all.

    Raises:
        SchemaError: no row holds a usable face, or a column or mask is missing.
        MissingInputError: sources are gone; the message names them.
        InputError: a source cannot be decoded, or is not what the table was made from.
    """

    def __init__(
        self,
        fex: pd.DataFrame | str | Path,
        targets: str | Sequence[str] = (),
        crop: CropRule = DEFAULT_CROP,
        mask: str | Sequence[str] = (),
        *,
        root: str | Path | None = None,
        missing: Policy = "raise",
        unlabelled: Literal["raise", "skip", "keep"] = "raise",
        cache: str | Path | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        if missing not in get_args(Policy) or unlabelled not in ("raise", "skip", "keep"):
            raise OptionError(
                "missing is 'raise' or 'skip', unlabelled 'raise', 'skip' or 'keep'; "
                f"got {missing!r} and {unlabelled!r}"
            )
        table = fex if isinstance(fex, pd.DataFrame) else read_fex(fex)
        self.crop = crop
        self.mask_names = (mask,) if isinstance(mask, str) else tuple(mask)
        self.root = Path(root) if root is not None else Path()
        self.left_out: Counter[str] = Counter()
        self.skipped: list[Skipped] = []
        rows = self._usable(table)
        read = read_targets(table, (targets,) if isinstance(targets, str) else tuple(targets))
        rows = rows[self._labelled(read, rows, unlabelled)]
        self._take(table, read, rows)
        stored = self._stored_masks(missing)
        chips = self._chips(stored, Path(cache) if cache else default_cache(), missing, progress)
        kept = np.array(sorted(chips), np.int64)
        if len(kept) < len(self.rows):
            self._take(table, read, self.rows[kept])
        self._chip_of = [chips[int(row)] for row in kept]
        if not len(self.rows):
            raise SchemaError(f"the table has no usable face; left out: {dict(self.left_out)}")

    def _take(self, table: pd.DataFrame, targets: Targets, rows: Rows) -> None:
        self.rows, self.targets = rows, targets.take(rows)
        self.table = table.iloc[rows].reset_index(drop=True)
        self.faces = TableFaces(self.table)
        self.matrices = self.crop.matrices(self.faces)
        self.points: NDArray[np.float32] | None = None
        if self.faces.has_landmarks:
            self.points = apply(self.matrices, self.faces.landmarks).astype(np.float32)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        number = range(len(self))[index]
        file, at = self._chip_of[number]
        crop, masks = split_layers(file.read(at))
        sample = {"crop": torch.from_numpy(crop), "row": torch.tensor(int(self.rows[number]))}
        if self.points is not None:
            sample["points"] = torch.from_numpy(self.points[number])
        if self.mask_names:
            sample["mask"] = torch.from_numpy(masks)
        if self.targets.columns:
            sample["targets"] = torch.from_numpy(self.targets.values[number])
        return sample

    @property
    def version(self) -> str:
        """Digest of the crops and targets, to record what a model was trained on."""
        digest = hashlib.sha256(self.targets.values.tobytes())
        for file, at in self._chip_of:
            digest.update(f"{file.path.stem}:{at};".encode())
        return digest.hexdigest()[:12]

    def _usable(self, table: pd.DataFrame) -> Rows:
        faces = TableFaces(table)
        found = np.isfinite(faces.box).all(1)
        placed = np.isfinite(self.crop.matrices(faces)).all((1, 2)) & found
        reasons = {
            "no face": ~found,
            "Keep is False": found & ~faces.kept,
            "no place for the crop (landmarks are missing)": found & faces.kept & ~placed,
        }
        self.left_out.update({why: int(rows.sum()) for why, rows in reasons.items() if rows.any()})
        rows = np.flatnonzero(placed & faces.kept)
        if not len(rows):
            raise SchemaError(f"the table has no usable face; left out: {dict(self.left_out)}")
        return rows

    def _labelled(self, targets: Targets, rows: Rows, policy: str) -> NDArray[np.bool_]:
        gaps = np.isnan(targets.values[rows])
        missing = gaps.any(1)
        if policy == "keep" or not missing.any():
            return np.ones(len(rows), bool)
        bad = [name for at, name in enumerate(targets.columns) if gaps[:, at].any()]
        if policy == "raise" or missing.all():
            raise SchemaError(
                f"{missing.sum()} of {len(rows)} faces have no label in {', '.join(bad)}; fill "
                "them, or pass unlabelled='skip'"
            )
        self.left_out["no label"] += int(missing.sum())
        return np.asarray(~missing, bool)

    def _stored_masks(self, missing: Policy) -> Stored:
        for name in self.mask_names:
            if name != STORED and name not in PART_NAMES:
                raise SchemaError(
                    f"there is no mask {name!r}; a mask node's are {STORED!r}, landmarks give "
                    f"{list(PART_NAMES)}"
                )
            if name != STORED and not self.faces.has_landmarks:
                raise SchemaError(f"mask {name!r} needs landmarks, and the table has none")
        if STORED not in self.mask_names:
            return []
        found = [self._stored_mask(row) for row in range(len(self.table))]
        lost = sum(mask is None for mask in found)
        if lost and missing == "raise":
            raise SchemaError(
                f"{lost} of {len(found)} faces have no stored mask; detect again with a mask node, "
                "or pass missing='skip' for empty ones"
            )
        return found

    def _stored_mask(self, row: int) -> StoredMask | None:
        try:
            mask = self.table.stored_mask(row) if isinstance(self.table, Fex) else None
        except AbsentGroupError:
            return None
        return mask if mask is not None and np.isfinite(mask.matrix).all() else None

    def _chips(
        self,
        stored: Stored,
        cache: Path,
        missing: Policy,
        progress: Callable[[int, int], None] | None,
    ) -> dict[int, tuple[ChipFile, int]]:
        """Where the crop of each row lies, by row; rows of skipped sources are absent."""
        groups = self.table.groupby("input", sort=False).indices
        self._refuse_gone([str(name) for name in groups], missing)
        found: dict[int, tuple[ChipFile, int]] = {}
        for done, (source, rows) in enumerate(groups.items(), 1):
            try:
                file = self._chips_of(str(source), np.sort(rows), stored, cache)
                found.update((int(row), (file, at)) for at, row in enumerate(np.sort(rows)))
            except InputError as error:
                if missing == "raise":
                    raise
                log.warning("%s; %d faces left out", error, len(rows))
                self.skipped.append(Skipped(str(source), len(rows), error))
                self.left_out["source is gone or unreadable"] += len(rows)
            if progress:
                progress(done, len(groups))
        return found

    def _refuse_gone(self, sources: Sequence[str], missing: Policy) -> None:
        gone = [source for source in sources if not (self.root / source).is_file()]
        if gone and missing == "raise":
            shown = ", ".join(gone[:5]) + (f" and {len(gone) - 5} more" if len(gone) > 5 else "")
            raise MissingInputError(
                shown,
                f"{len(gone)} of {len(sources)} sources of the table are not there",
                "give the folder that their paths start from as root, or pass missing='skip'",
            )

    def _chips_of(self, source: str, rows: Rows, stored: Stored, cache: Path) -> ChipFile:
        path = self.root / source
        frames = self.table["frame"].to_numpy(np.int64)[rows]
        sizes = self.faces.sizes_px[rows]
        matrices = self.matrices[rows]
        decisive = [a.tobytes() for a in (frames, sizes, matrices)]
        for name in self.mask_names:
            decisive += [name.encode(), *self._mask_bytes(name, rows, stored)]
        key = chip_key(path, self.crop, *decisive)
        shape = (self.crop.size, self.crop.size, 3 + len(self.mask_names))
        file = ChipFile(cache / key[:2] / f"{key}.npy", len(rows), shape)
        if not file.is_whole:
            chips = cut_source(path, frames, sizes, matrices, self.crop)
            layers = [self._masks(name, rows, stored)[..., None] for name in self.mask_names]
            file.write(np.concatenate([chips, *layers], -1))
        return file

    def _mask_bytes(self, name: str, rows: Rows, stored: Stored) -> list[bytes]:
        if name == STORED:
            masks = [stored[int(row)] for row in rows]
            return [m.pixels.tobytes() + m.matrix.tobytes() if m else b"none" for m in masks]
        return [self.faces.landmarks[rows].tobytes()]

    def _masks(self, name: str, rows: Rows, stored: Stored) -> NDArray[np.uint8]:
        size = self.crop.size
        if name == STORED:
            drawn = np.zeros((len(rows), size, size), np.uint8)
            for at, row in enumerate(rows):
                mask = stored[int(row)]
                if mask is not None:
                    to_crop = compose(self.matrices[row], invert(mask.matrix))
                    drawn[at] = warp(mask.pixels, to_crop, (size, size))
            return drawn
        part = next(part for part in PART_NAMES if part == name)
        return hull_masks(
            self.faces.landmarks[rows],
            self.matrices[rows],
            self.faces.extents_px[rows],
            size,
            part,
        )
