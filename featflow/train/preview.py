"""Seeing a face model train: sheets of input, reconstruction and swap."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featflow.datasets.facesets import FaceSets
from featflow.errors import OptionError, OutputError
from featflow.files import write_atomically
from featflow.train.callbacks import Callback
from featflow.train.events import TensorBoard

if TYPE_CHECKING:
    from featflow.train.trainer import Trainer

Image = NDArray[np.uint8]

HEADER_PX = 20
OVERLAY = (255, 0, 0)
OPACITY = 0.3


@dataclass(frozen=True)
class Samples:
    """Faces to show, always the same ones.

    Attributes:
        faces: (N, 3, S, S) floats 0..1 by identity.
        masks: (N, 1, S, S) by identity, or empty.
    """

    faces: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]

    @classmethod
    def of(cls, sets: FaceSets, count: int = 4) -> Samples:
        """Evenly spaced faces of each identity, with their first mask."""
        faces, masks = {}, {}
        for label, each in sets.sets.items():
            picked = np.linspace(0, len(each) - 1, min(count, len(each))).astype(int)
            samples = [each[int(row)] for row in picked]
            crops = torch.stack([sample["crop"] for sample in samples])
            faces[label] = crops.permute(0, 3, 1, 2).float() / 255
            if each.mask_names:
                masks[label] = torch.stack([sample["mask"][:1] for sample in samples]) / 255
        return cls(faces, masks)


@torch.no_grad()
def preview_sheet(model: nn.Module, samples: Samples, show_mask: bool = False) -> Image:
    """Input, reconstruction and every swap, (20 + rows * S, (1 + identities) * S, 3) uint8 RGB.

    One row a face, identity after identity; the first column is the input, the others are what
    each identity's decoder makes of it.

    Args:
        model: a face model in evaluation mode.
        samples: what to show.
        show_mask: lay red over what lies outside the mask.

    Raises:
        OptionError: masks are asked for and there are none.
    """
    if show_mask and not samples.masks:
        raise OptionError("there are no masks to show; give the faces a mask")
    labels = list(samples.faces)
    device = next(model.parameters()).device
    faces = {label: each.to(device) for label, each in samples.faces.items()}
    drawn = {to: model(faces, to).faces for to in labels}
    rows = []
    for label in labels:
        columns = [faces[label], *(drawn[to][label] for to in labels)]
        if show_mask:
            columns = [tinted(each, samples.masks[label].to(device)) for each in columns]
        rows.append(torch.cat(columns, 3).permute(0, 2, 3, 1).flatten(0, 1))
    pixels = torch.cat(rows).clamp(0, 1).mul(255).round().byte().cpu().numpy()
    side = next(iter(faces.values())).shape[-1]
    return np.concatenate([_header(["input", *(f"as {to}" for to in labels)], side), pixels])


def tinted(faces: Tensor, masks: Tensor) -> Tensor:
    """Faces (N, 3, S, S) with red over what lies outside the masks (N, 1, S, S)."""
    red = faces.new_tensor(OVERLAY).view(1, 3, 1, 1) / 255
    amount = OPACITY * (1 - masks)
    return faces * (1 - amount) + red * amount


def _header(titles: Sequence[str], side: int) -> Image:
    strip = np.full((HEADER_PX, side * len(titles), 3), 255, np.uint8)
    for column, title in enumerate(titles):
        at = (column * side + 3, HEADER_PX - 6)
        cv2.putText(strip, title[: side // 7], at, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1)
    return strip


class PreviewBuffer:
    """Pictures handed from one thread to another, by name; the newest of each name is kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._images: dict[str, Image] = {}
        self._updated = False

    @property
    def is_updated(self) -> bool:
        """Whether a picture came since the last :meth:`get_images`."""
        with self._lock:
            return self._updated

    def add_image(self, name: str, image: Image) -> None:
        """Put a picture, (H, W, 3) uint8 RGB."""
        with self._lock:
            self._images[name] = image
            self._updated = True

    def get_images(self) -> dict[str, Image]:
        """The newest pictures by name."""
        with self._lock:
            self._updated = False
            return dict(self._images)


class Preview(Callback):
    """Draws a sheet whenever a checkpoint is written.

    ``preview.png`` is the newest; ``timelapse/00000400.png``, ... stay.

    Args:
        samples: what to show.
        folder: where sheets go.
        timelapse: keep one a checkpoint.
        show_mask: lay red over what lies outside the mask, where there is one; may be changed at
            any time.
        board: also shows the sheets.
        buffer: for a window.
    """

    def __init__(
        self,
        samples: Samples,
        folder: str | Path,
        *,
        timelapse: bool = True,
        show_mask: bool = False,
        board: TensorBoard | None = None,
        buffer: PreviewBuffer | None = None,
    ) -> None:
        self.samples, self.folder, self.timelapse = samples, Path(folder), timelapse
        self.show_mask, self.board, self.buffer = show_mask, board, buffer

    def on_save(self, trainer: Trainer, path: Path) -> None:
        """Draw the sheet that goes with the checkpoint."""
        self.draw(trainer, keep=self.timelapse)

    def draw(self, trainer: Trainer, keep: bool = False) -> None:
        """Draw the sheet of the present weights, and keep it among the time-lapse if asked to."""
        with trainer.lent(trainer.average) as model:
            sheet = preview_sheet(model, self.samples, self.show_mask and bool(self.samples.masks))
        write_png(self.folder / "preview.png", sheet)
        if keep:
            write_png(self.folder / "timelapse" / f"{trainer.step:08}.png", sheet)
        if self.board is not None:
            self.board.add_image("preview", sheet, trainer.step)
        if self.buffer is not None:
            self.buffer.add_image("preview", sheet)


def write_png(path: Path, picture: Image) -> None:
    """Write (H, W, 3) uint8 RGB, whole or not at all; the folder is made.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path.parent}: cannot be made: {error.strerror}") from error
    _, content = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    write_atomically(path, content.tobytes())


def sheet_size(identities: int, faces: int, side: int) -> tuple[int, int]:
    """Height and width of a sheet of that many faces in all."""
    return HEADER_PX + faces * side, math.prod((1 + identities, side))
