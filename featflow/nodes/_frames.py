"""Whole frames for networks that find faces: pictures of one size, stacked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.flow.batch import Batch, FaceBatch

MOST_PIXELS = 2_000_000
"""Pixels that go through a network at once: a large picture goes alone, so that the memory
that its maps need does not grow with the batch."""


@dataclass(frozen=True, slots=True)
class FrameView:
    """Frames of one size.

    Attributes:
        rows: (n,) row of each picture in the frame batch.
        scales: (n, 2) pixels of the picture per original pixel, x and y.
        pixels: (n, H, W, 3) uint8 RGB.
    """

    rows: NDArray[np.int64]
    scales: NDArray[np.float64]
    pixels: NDArray[np.uint8]


def views(batch: Batch) -> list[FrameView]:
    """The readable frames of a batch, grouped by size and cut at :data:`MOST_PIXELS`."""
    groups: dict[tuple[int, int], list[int]] = {}
    for row, image in enumerate(batch.frames.images):
        if image.size:
            groups.setdefault((image.shape[0], image.shape[1]), []).append(row)
    return [
        _view(batch, size, part)
        for size, rows in groups.items()
        for part in _parts(rows, max(1, MOST_PIXELS // (size[0] * size[1])))
    ]


def _parts(rows: list[int], most: int) -> Iterator[list[int]]:
    for start in range(0, len(rows), most):
        yield rows[start : start + most]


def _view(batch: Batch, size: tuple[int, int], rows: list[int]) -> FrameView:
    chosen = np.array(rows, np.int64)
    # From the sizes, because a frame's one scale is exact along its longer side alone.
    scales = np.array(size[::-1], np.float64) / batch.frames.sizes_px[chosen][:, ::-1]
    return FrameView(chosen, scales, np.stack([batch.frames.images[row] for row in rows]))


def gathered(
    batch: Batch, found: Sequence[tuple[int, Mapping[str, NDArray[Any]]]], fields: Sequence[str]
) -> FaceBatch:
    """Faces of many pictures as one batch in the order of its frames.

    Args:
        batch: the frames.
        found: row of a frame and the fields of the faces in it, one entry a picture.
        fields: names of the fields.
    """
    if not found:
        return FaceBatch.empty(fields)
    ordered = sorted(found, key=lambda entry: entry[0])
    counts = [len(faces["box"]) for _, faces in ordered]
    rows = np.repeat(np.array([row for row, _ in ordered], np.int64), counts)
    return FaceBatch(
        batch.frames.uids[rows],
        {
            name: np.concatenate([faces[name] for _, faces in ordered]).astype(np.float32)
            for name in fields
        },
    )
