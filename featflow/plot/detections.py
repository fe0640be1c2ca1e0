"""Detections on their frames, with matplotlib."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featflow.errors import FeatflowError, OptionError, SchemaError
from featflow.plot.shapes import (
    AXIS_COLOURS,
    BOX_COLOUR,
    PATHS,
    POINT_COLOUR,
    FaceShapes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from featflow.fex.table import Fex

_MOST_FRAMES = 64
_BLANK_GREY = 235


def plot_detections(
    fex: Fex,
    rows: slice | Iterable[int] | None = None,
    axes: Axes | Sequence[Axes] | None = None,
    *,
    boxes: bool = True,
    landmarks: bool = True,
    poses: bool = True,
    titles: bool = True,
) -> list[Axes]:
    """Draw faces on the frames they were found in, one axes a frame.

    The picture is read from the row's ``input``; where that is gone, the canvas is blank and
    has the frame's size.

    Args:
        fex: a table with ``input`` and ``frame``.
        rows: which rows, by position; all if None.
        axes: where to draw, one a frame; a new figure if None.
        boxes: draw detections.
        landmarks: draw the 68 points, joined.
        poses: draw the head's axes: subject's left red, up green, forward blue.
        titles: write input, frame and time above the pictures.

    Returns:
        The axes, in the order of the frames.

    Raises:
        OptionError: more than 64 frames, or another number of axes than of frames.
        SchemaError: the table does not say which frames its rows are of.
    """
    chosen = _choose(fex, rows)
    frames = list(_frames(chosen))
    canvases = _canvases(axes, len(frames))
    pictures = _pictures([key for key, _ in frames])
    for (key, part), canvas in zip(frames, canvases, strict=True):
        _show(canvas, pictures.get(key), part)
        _draw(canvas, FaceShapes.from_rows(part), boxes, landmarks, poses)
        if titles:
            canvas.set_title(_title(part), fontsize=9)
    return canvases


def _choose(fex: pd.DataFrame, rows: slice | Iterable[int] | None) -> pd.DataFrame:
    missing = [name for name in ("input", "frame") if name not in fex.columns]
    if missing:
        raise SchemaError(f"cannot plot: the table has no column {' and no '.join(missing)}")
    if rows is None:
        return fex
    return fex.iloc[rows if isinstance(rows, slice) else list(rows)]


def _frames(rows: pd.DataFrame) -> Iterator[tuple[tuple[str, int], pd.DataFrame]]:
    keys = list(zip(rows["input"].astype(str), rows["frame"].astype(int), strict=True))
    unique = list(dict.fromkeys(keys))
    if not 0 < len(unique) <= _MOST_FRAMES:
        raise OptionError(
            f"can plot 1 to {_MOST_FRAMES} frames at once, the rows are of {len(unique)}; "
            "choose some with `rows`"
        )
    for key in unique:
        yield key, rows.iloc[[i for i, other in enumerate(keys) if other == key]]


def _canvases(axes: Axes | Sequence[Axes] | None, count: int) -> list[Axes]:
    if axes is None:
        import matplotlib.pyplot as plt

        across = min(count, 3)
        down = -(-count // across)
        figure, grid = plt.subplots(
            down, across, squeeze=False, figsize=(5 * across, 4 * down), layout="constrained"
        )
        for spare in grid.ravel()[count:]:
            figure.delaxes(spare)
        return list(grid.ravel()[:count])
    given: list[Any] = list(axes) if isinstance(axes, (Sequence, np.ndarray)) else [axes]
    if len(given) != count:
        raise OptionError(f"the rows are of {count} frames, but {len(given)} axes were given")
    return given


def _pictures(keys: Sequence[tuple[str, int]]) -> dict[tuple[str, int], NDArray[np.uint8]]:
    """Pictures of the frames that can be read."""
    wanted: dict[str, set[int]] = {}
    for source, index in keys:
        wanted.setdefault(source, set()).add(index)
    return {
        (source, index): image
        for source, indices in wanted.items()
        for index, image in _read(source, indices)
    }


def _read(source: str, indices: set[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    from featflow.datasets import open_source

    try:
        for frame in open_source(source):
            if frame.index in indices and frame.error is None:
                yield frame.index, frame.image
            if frame.index >= max(indices):
                return
    except FeatflowError:
        return  # a table outlives its pictures: what is missing is drawn on a blank canvas


def _show(canvas: Axes, picture: NDArray[np.uint8] | None, part: pd.DataFrame) -> None:
    sizes = part.iloc[0].reindex(["FrameHeight", "FrameWidth"]).fillna(0)
    height, width = (max(int(v), 1) for v in sizes)
    if picture is None:
        if "FrameWidth" not in part:
            height, width = _extent(FaceShapes.from_rows(part))
        picture = np.full((1, 1, 3), _BLANK_GREY, np.uint8)
    elif "FrameWidth" not in part:
        height, width = picture.shape[:2]
    # The extent puts the outer corner of the top-left pixel at (0, 0), as coordinates count.
    canvas.imshow(picture, extent=(0, width, height, 0), interpolation="nearest")
    canvas.set(xlim=(0, width), ylim=(height, 0), aspect="equal", xticks=[], yticks=[])


def _extent(shapes: FaceShapes) -> tuple[int, int]:
    """Height and width that hold all shapes, for a table that does not say its frames' size."""
    points = np.concatenate([shapes.box.reshape(-1, 2), shapes.points.reshape(-1, 2)])
    points = points[np.isfinite(points).all(1)]
    far = np.ceil(points.max(0)) if len(points) else np.ones(2)
    return max(int(far[1]), 1), max(int(far[0]), 1)


def _draw(canvas: Axes, shapes: FaceShapes, boxes: bool, landmarks: bool, poses: bool) -> None:
    for i in range(len(shapes)):
        if boxes:
            x0, y0, x1, y1 = shapes.box[i]
            canvas.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color=_hex(BOX_COLOUR))
        if landmarks:
            for indices, closed in PATHS:
                path = [*indices, indices.start] if closed else list(indices)
                x, y = shapes.points[i, path].T
                canvas.plot(x, y, color=_hex(POINT_COLOUR), lw=1, marker=".", ms=2)
        if poses:
            origin, *tips = shapes.axes[i]
            for tip, colour in zip(tips, AXIS_COLOURS, strict=True):
                canvas.plot(*np.stack([origin, tip]).T, color=_hex(colour), lw=2)


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _title(part: pd.DataFrame) -> str:
    first = part.iloc[0]
    time = first.get("time", np.nan)
    seconds = f", {time:.2f} s" if np.isfinite(time) else ""
    name = str(first["input"]).replace("\\", "/").rsplit("/", 1)[-1]
    return f"{name}, frame {first['frame']}{seconds}"
