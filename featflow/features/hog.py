"""Histograms of oriented gradients (Dalal and Triggs 2005, CVPR), equal to scikit-image's.

Gradients are central differences, of the colour channel that is steepest at each pixel, and 0
on the border. Orientations are unsigned and fall into one bin each, without interpolation.
A cell's histogram is a mean over its pixels. Blocks of cells overlap by all but one cell and
are normalised twice around a clip ("L2-Hys").
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.errors import ArrayError

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]

CLIP = 0.2
EPS = 1e-5


def hog(images: NDArray[Any], orientations: int = 8, cell: int = 8, block: int = 2) -> Floats:
    """Describe pictures by their edges.

    Args:
        images: (N, H, W, C) or (N, H, W), in any range (the result hardly depends on it).
            Gradients of float32 are taken in float32, all else in float64.
        orientations: bins over 180 degrees.
        cell: side of a cell in pixels; rows and columns beyond the last whole cell are unused.
        block: side of a block in cells.

    Returns:
        (N, F) with F = (rows - block + 1) * (columns - block + 1) * block² * orientations for
        rows by columns cells, in the order block row, block column, cell row, cell column,
        orientation: 5,408 values for 112 pixels and the defaults. float32 for float32, else
        float64.

    Raises:
        ArrayError: the array has another number of axes, or a picture holds no block.
    """
    pixels = np.asarray(images)
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    if pixels.ndim != 4 or min(pixels.shape[1:3]) < cell * block:
        raise ArrayError(
            "images for hog",
            f"have shape {np.shape(images)}",
            f"give (N, H, W) or (N, H, W, C) with sides of at least {cell * block} pixels",
        )
    pixels = pixels.astype(np.float32 if pixels.dtype == np.float32 else np.float64, copy=False)
    magnitude, angle = steepest_gradients(pixels)
    histograms = cell_histograms(magnitude, angle, orientations, cell)
    return normalised_blocks(histograms, block).astype(pixels.dtype, copy=False)


def steepest_gradients(pixels: Floats) -> tuple[Doubles, Doubles]:
    """Magnitude, and angle in 0..180 degrees, of the steepest channel; (N, H, W) each."""
    down, right = np.zeros_like(pixels), np.zeros_like(pixels)
    down[:, 1:-1] = pixels[:, 2:] - pixels[:, :-2]
    right[:, :, 1:-1] = pixels[:, :, 2:] - pixels[:, :, :-2]
    steepest = np.hypot(down, right).argmax(-1)[..., None]
    # Single precision would move diagonal edges, which lie on a bin's edge, to either side.
    y, x = (
        np.take_along_axis(values, steepest, -1)[..., 0].astype(np.float64)
        for values in (down, right)
    )
    return np.hypot(y, x), np.mod(np.rad2deg(np.arctan2(y, x)), 180)


def cell_histograms(magnitude: Doubles, angle: Doubles, orientations: int, cell: int) -> Doubles:
    """Mean magnitude a cell and orientation, (N, rows, columns, orientations)."""
    count, height, width = magnitude.shape
    rows, columns = height // cell, width // cell
    inside = np.s_[:, : rows * cell, : columns * cell]
    magnitude, angle = magnitude[inside], angle[inside]
    # Exact comparison with the bins' edges; a division may round a value over an edge.
    edges = 180.0 / orientations * np.arange(orientations + 1)
    bins = np.searchsorted(edges, angle, side="right") - 1
    # An angle a hair below 0 becomes 180 exactly in floating point, which no bin holds.
    weight = np.where(bins < orientations, magnitude, 0)
    of_row, of_column = np.arange(rows * cell) // cell, np.arange(columns * cell) // cell
    place = (np.arange(count)[:, None, None] * rows + of_row[:, None]) * columns + of_column
    place = place * orientations + np.minimum(bins, orientations - 1)
    total = np.bincount(
        place.ravel(), weight.ravel(), minlength=count * rows * columns * orientations
    )
    return total.reshape(count, rows, columns, orientations) / cell**2


def normalised_blocks(histograms: Doubles, block: int) -> Doubles:
    """Overlapping blocks, each of length 1 after clipping at 0.2, flattened to (N, F)."""
    windows = np.lib.stride_tricks.sliding_window_view(histograms, (block, block), (1, 2))
    blocks = np.array(np.moveaxis(windows, 3, 5), order="C")
    blocks /= _lengths(blocks)
    np.minimum(blocks, CLIP, out=blocks)
    blocks /= _lengths(blocks)
    return blocks.reshape(len(blocks), prod(blocks.shape[1:]))


def _lengths(blocks: Doubles) -> Doubles:
    squares = np.einsum("...ijk,...ijk->...", blocks, blocks)
    return np.asarray(np.sqrt(squares + EPS**2))[..., None, None, None]
