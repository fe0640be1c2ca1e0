"""Putting a face model to work: one person's face drawn with another's features, in a clip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from featflow.datasets.face_table import TableFaces
from featflow.datasets.frame import Frame
from featflow.datasets.source import open_source
from featflow.errors import InputError, OptionError, SchemaError
from featflow.fex.io import read_fex
from featflow.files import require_folder
from featflow.geometry.crop import CropRule
from featflow.geometry.hull_masks import PART_NAMES, hull_masks
from featflow.geometry.similarity import invert
from featflow.geometry.warp import warp
from featflow.plot.clips import CLIPS, PHOTOS, write_clip, write_photo
from featflow.train.models.autoencoder import FaceAutoencoder

Image = NDArray[np.uint8]
Floats = NDArray[np.floating[Any]]

SYNTHETIC = "Synthetic: faces drawn by a model (featflow convert); not a recording"
"""Written into every file, so that nobody need guess."""


@dataclass(frozen=True, slots=True)
class Blend:
    """How a drawn face is put into the frame.

    Attributes:
        mask: where: ``learned`` by the model, or a part that landmarks give.
        shrink: how far the mask draws back from its edge, as a part of the crop's side.
        soft: how wide its edge is, as a part of the crop's side.
        colour: ``match`` gives the drawn face the mean and spread of the frame's colours
            (Reinhard et al. 2001), ``keep`` leaves it as it is.

    Raises:
        OptionError: a value cannot be used.
    """

    mask: str = "extended"
    shrink: float = 0.02
    soft: float = 0.05
    colour: Literal["match", "keep"] = "match"

    def __post_init__(self) -> None:
        if self.mask not in ("learned", *PART_NAMES):
            known = ", ".join(("learned", *PART_NAMES))
            raise OptionError(f"mask must be one of {known}, got {self.mask!r}")
        if not (0 <= self.shrink < 0.5 and 0 <= self.soft < 0.5):
            raise OptionError(f"shrink and soft must be 0..0.5, got {self.shrink} and {self.soft}")
        if self.colour not in ("match", "keep"):
            raise OptionError(f"colour must be 'match' or 'keep', got {self.colour!r}")


@dataclass(frozen=True)
class Converter:
    """Draws the faces of frames anew.

    Attributes:
        model: in evaluation mode.
        crop: how its faces were cut.
        to: the identity whose decoder draws.
        blend: how faces are put into the frame.
    """

    model: FaceAutoencoder
    crop: CropRule
    to: str
    blend: Blend

    def __post_init__(self) -> None:
        self.model.check_label(self.to)
        if self.crop.size != self.model.side:
            raise OptionError(
                f"{self.model.kind} takes faces of {self.model.side} pixels, and the crop has "
                f"{self.crop.size}; use the rule that load_face_model returns with the model"
            )
        if self.blend.mask == "learned" and not self.model.learn_mask:
            raise OptionError("the model learned no mask; use a part that landmarks give")

    def frame(self, picture: Image, faces: TableFaces) -> Image:
        """A copy of a frame with its faces drawn anew.

        Args:
            picture: (H, W, 3) uint8 RGB, original size.
            faces: rows of this frame.
        """
        result = picture.copy()
        matrices = self.crop.matrices(faces)
        placed = np.flatnonzero(np.isfinite(matrices).all((1, 2)) & faces.kept)
        if not len(placed):
            return result
        side = self.crop.size
        chips = np.stack(
            [warp(picture, matrices[row], (side, side), self.crop.outside) for row in placed]
        )
        drawn, learned = self._draw(chips)
        masks = learned if learned is not None else self._masks(faces, matrices, picture, placed)
        for at, row in enumerate(placed):
            mask = softened(masks[at], self.blend)
            face = drawn[at]
            if self.blend.colour == "match":
                face = match_colours(face, chips[at], mask)
            result = paste(result, face, mask, matrices[row])
        return result

    @torch.no_grad()
    def _draw(self, chips: Image) -> tuple[Image, Image | None]:
        device = next(self.model.parameters()).device
        faces = torch.from_numpy(chips).to(device).permute(0, 3, 1, 2).float() / 255
        drawn = self.model({self.to: faces}, self.to)
        pictures = _bytes(drawn.faces[self.to].permute(0, 2, 3, 1))
        return pictures, _bytes(drawn.masks[self.to][:, 0]) if drawn.masks else None

    def _masks(
        self, faces: TableFaces, matrices: Floats, picture: Image, rows: NDArray[np.int64]
    ) -> Image:
        part = next(part for part in PART_NAMES if part == self.blend.mask)
        sizes = np.repeat(np.array([picture.shape[:2]]), len(rows), 0)
        return hull_masks(faces.landmarks[rows], matrices[rows], sizes, self.crop.size, part)


def _bytes(values: torch.Tensor) -> Image:
    return np.asarray(values.clamp(0, 1).mul(255).round().byte().cpu().numpy(), np.uint8)


def softened(mask: Image, blend: Blend) -> NDArray[np.float32]:
    """A mask (S, S) uint8 drawn back and with a soft edge, 0..1; 0 on the border of the crop."""
    side = len(mask)
    back, width = round(blend.shrink * side), round(blend.soft * side)
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    if back + width:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * (back + width) + 1,) * 2)
        padded = cv2.erode(padded, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    if width:
        padded = cv2.blur(padded, (2 * width + 1,) * 2, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(padded[1:-1, 1:-1], np.float32) / np.float32(255)


def match_colours(face: Image, like: Image, mask: NDArray[np.float32]) -> Image:
    """A face with the mean and spread that L*, a* and b* have within a mask of another picture.

    Args:
        face: (S, S, 3) uint8 RGB.
        like: the same size.
        mask: (S, S) 0..1; where it is empty the face stays as it is.
    """
    weight = mask[..., None] / max(float(mask.sum()), 1e-6)
    if mask.sum() < 1:
        return face
    ours, theirs = (
        cv2.cvtColor(p.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for p in (face, like)
    )
    means = [(lab * weight).sum((0, 1)) for lab in (ours, theirs)]
    spreads = [
        np.sqrt((np.square(lab - mean) * weight).sum((0, 1)))
        for lab, mean in zip((ours, theirs), means, strict=True)
    ]
    # A flat face says nothing of contrast; it is not blown up by more than half as much again.
    gain = np.clip(spreads[1] / np.maximum(spreads[0], 1e-3), 2 / 3, 1.5)
    matched = ((ours - means[0]) * gain + means[1]).astype(np.float32)
    rgb = np.clip(cv2.cvtColor(matched, cv2.COLOR_LAB2RGB), 0, 1)
    return np.asarray(np.rint(rgb * 255), np.uint8)


def paste(frame: Image, face: Image, mask: NDArray[np.float32], matrix: Floats) -> Image:
    """A frame with a crop put back where ``matrix`` (2, 3), frame to crop, cut it."""
    back, size = invert(matrix), (frame.shape[0], frame.shape[1])
    amount = warp(np.rint(mask * 255).astype(np.uint8), back, size)[..., None] / np.float32(255)
    laid = warp(face, back, size, "replicate")
    return np.rint(frame * (1 - amount) + laid * amount).astype(np.uint8)


def convert(
    converter: Converter,
    fex: pd.DataFrame | str | Path,
    out: str | Path,
    *,
    root: str | Path | None = None,
) -> int:
    """Write a copy of a clip or photo with its faces drawn anew.

    The table says where faces are; rows with ``Keep`` False stay as they are. Frame times are
    kept, sound is not. The file's metadata say that its faces are synthetic.

    Args:
        converter: model, target and blending.
        fex: table of one clip or photo, or the file of one.
        out: ``.mp4``, ``.mov`` or ``.mkv`` for a clip, ``.png`` or ``.jpg`` for a photo.
        root: folder that a relative path of the table starts from.

    Returns:
        Number of frames.

    Raises:
        SchemaError: the table is of several inputs or has no usable face.
        InputError: the source cannot be read.
        OptionError: another ending of ``out``, or ``out`` is the source.
        OutputError: ``out`` cannot be written.
    """
    out, table = Path(out), fex if isinstance(fex, pd.DataFrame) else read_fex(fex)
    suffix = out.suffix.lower()
    if suffix not in {**CLIPS, **PHOTOS}:
        raise OptionError(f"{out}: must end in one of {', '.join([*CLIPS, *PHOTOS])}")
    source = _only_source(table, Path(root or ""))
    if out.exists() and source.exists() and out.samefile(source):
        raise OptionError(f"{out}: is the input itself (choose another name)")
    require_folder(out)
    count = [0]
    pictures = _converted(converter, open_source(str(source)), table, count)
    first = next(pictures, None)
    if first is None:
        raise InputError(str(source), "holds no frame that can be decoded")
    if suffix in PHOTOS:
        write_photo(out, first[0], PHOTOS[suffix], SYNTHETIC)
    else:
        write_clip(out, chain([first], pictures), CLIPS[suffix], SYNTHETIC)
    return count[0]


def _only_source(table: pd.DataFrame, root: Path) -> Path:
    names = table["input"].astype(str).unique()
    if len(names) != 1:
        raise SchemaError(
            f"one clip is converted at a time; the table has {len(names)} inputs: select one, as "
            "in fex[fex['input'] == name]"
        )
    return root / str(names[0])


def _converted(
    converter: Converter, frames: Iterable[Frame], table: pd.DataFrame, count: list[int]
) -> Iterator[tuple[Image, float]]:
    rows_of_frame = table.groupby("frame").indices
    for frame in frames:
        if frame.error is not None:
            if not count[0]:
                raise frame.error
            return  # a clip cut short is converted as far as it goes
        rows = rows_of_frame.get(frame.index)
        picture = frame.image
        if rows is not None:
            picture = converter.frame(picture, TableFaces(table.iloc[rows]))
        count[0] += 1
        yield picture, frame.time_s
