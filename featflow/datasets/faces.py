"""Faces read back from a table: aligned crops, masks and any columns as targets."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from featflow.datasets.chips import ChipFile, chip_key, cut_source, default_cache
from featflow.datasets.face_table import TableFaces, Targets, read_targets
from featflow.errors import InputError, MissingInputError, OptionError, SchemaError
from featflow.fex.io import read_fex
from featflow.fex.masks import Masks, masks_path, read_masks
from featflow.geometry.crop import CropRule
from featflow.geometry.hull_masks import PART_NAMES, hull_masks
from featflow.geometry.similarity import apply

log = logging.getLogger("featflow")

Sample = dict[str, Tensor]
Policy = Literal["raise", "skip"]
Rows = NDArray[np.int64]

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
        mask: names of masks: of the sidecar, or parts that landmarks give (``face``, ``eyes``,
            ``mouth``, ``components``, ``extended``, ...).
        sidecar: file of masks; the one beside ``fex`` if None and ``fex`` is a file.
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
        sidecar: str | Path | None = None,
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
        if sidecar is None and not isinstance(fex, pd.DataFrame) and masks_path(fex).is_file():
            sidecar = masks_path(fex)
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
        stored = self._stored_masks(sidecar, missing)
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
        chip = torch.from_numpy(file.read(at))
        sample = {"crop": chip[..., :3].contiguous(), "row": torch.tensor(int(self.rows[number]))}
        if self.points is not None:
            sample["points"] = torch.from_numpy(self.points[number])
        if self.mask_names:
            sample["mask"] = chip[..., 3:].permute(2, 0, 1).contiguous()
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

    def _stored_masks(self, sidecar: str | Path | None, missing: Policy) -> dict[str, Masks]:
        stored = {} if sidecar is None or not self.mask_names else read_masks(sidecar, self.table)
        for name in self.mask_names:
            if name not in stored and name not in PART_NAMES:
                raise SchemaError(
                    f"there is no mask {name!r}; the sidecar has {sorted(stored) or 'none'}, "
                    f"landmarks give {list(PART_NAMES)}"
                )
            if name not in stored and not self.faces.has_landmarks:
                raise SchemaError(f"mask {name!r} needs landmarks, and the table has none")
            if name in stored and missing == "raise":
                lost = int(np.isnan(stored[name].matrices).any((1, 2)).sum())
                if lost:
                    raise SchemaError(f"{lost} faces have no mask {name!r} in {sidecar}")
        return stored

    def _chips(
        self,
        stored: Mapping[str, Masks],
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

    def _chips_of(
        self, source: str, rows: Rows, stored: Mapping[str, Masks], cache: Path
    ) -> ChipFile:
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

    def _mask_bytes(self, name: str, rows: Rows, stored: Mapping[str, Masks]) -> list[bytes]:
        if name in stored:
            return [stored[name].pictures[rows].tobytes(), stored[name].matrices[rows].tobytes()]
        return [self.faces.landmarks[rows].tobytes()]

    def _masks(self, name: str, rows: Rows, stored: Mapping[str, Masks]) -> NDArray[np.uint8]:
        if name in stored:
            size = self.crop.size
            drawn = [stored[name].on_crop(int(r), self.matrices[r], size) for r in rows]
            return np.stack(drawn)
        part = next(part for part in PART_NAMES if part == name)
        return hull_masks(
            self.faces.landmarks[rows],
            self.matrices[rows],
            self.faces.extents_px[rows],
            self.crop.size,
            part,
        )
