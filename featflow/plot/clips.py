"""Annotated copies of photos and clips."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from featflow.datasets.frame import Frame
from featflow.errors import InputError, OptionError, SchemaError
from featflow.files import atomic_path, require_folder
from featflow.plot.draw import paint
from featflow.plot.shapes import FaceShapes

CLIPS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
PHOTOS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
_TICKS = 90_000
_EXIF_DESCRIPTION = 0x010E
_FPS_WITHOUT_TIMES = 25
_ENCODER = {"crf": "20", "preset": "veryfast", "bf": "0"}


def annotate(
    source: str | Path,
    fex: pd.DataFrame,
    out: str | Path,
    *,
    boxes: bool = True,
    landmarks: bool = True,
    poses: bool = True,
) -> Path:
    """Write a copy of a photo or clip with faces drawn on it.

    A clip becomes H.264 (yuv420p) with the time of every frame kept, also where frame rate
    varies. All frames are written, also those that ``skip_frames`` left out of the table.
    Sound is not kept. A picture of odd width or height gets one more column or row, which
    the encoding needs.

    Args:
        source: the photo or clip.
        fex: table of its faces; rows of other inputs are left aside.
        out: ``.mp4``, ``.mov`` or ``.mkv`` for a clip, ``.png`` or ``.jpg`` for a photo.
        boxes, landmarks, poses: what to draw, see :func:`featflow.plot.draw.draw_faces`.

    Returns:
        The path written.

    Raises:
        InputError: the source cannot be read.
        OptionError: another ending of ``out``, or ``out`` is the source.
        SchemaError: the table has no row of this source.
        OutputError: ``out`` cannot be written.
    """
    from featflow.datasets import open_source

    out = Path(out)
    suffix = out.suffix.lower()
    if suffix not in {**CLIPS, **PHOTOS}:
        raise OptionError(f"{out}: must end in one of {', '.join([*CLIPS, *PHOTOS])}")
    if out.exists() and Path(source).exists() and out.samefile(source):
        raise OptionError(f"{out}: is the input itself (choose another name)")
    require_folder(out)
    rows = rows_of(fex, str(source))
    drawn = _drawn(open_source(source), rows, boxes, landmarks, poses)
    first = next(drawn, None)
    if first is None:
        raise InputError(str(source), "holds no frame that can be decoded")
    if suffix in PHOTOS:
        return write_photo(out, first[0], PHOTOS[suffix])
    return write_clip(out, chain([first], drawn), CLIPS[suffix])


def rows_of(fex: pd.DataFrame, source: str) -> pd.DataFrame:
    """Rows of one input; a table of a single input is taken to be of this one."""
    if "frame" not in fex.columns:
        raise SchemaError("cannot annotate: the table has no column frame")
    if "input" not in fex.columns:
        return fex
    inputs = fex["input"].astype(str)
    names = inputs.unique()
    same = [name for name in names if Path(name).absolute() == Path(source).absolute()]
    if not same and len(names) > 1:
        listed = ", ".join(sorted(names)[:5])
        raise SchemaError(f"the table has no row of {source}; its inputs are {listed}")
    return fex[inputs == same[0]] if same else fex


def _drawn(
    frames: Iterable[Frame], rows: pd.DataFrame, boxes: bool, landmarks: bool, poses: bool
) -> Iterator[tuple[NDArray[np.uint8], float]]:
    """Pictures with faces on them, and their times, as far as the source can be decoded."""
    indices = rows["frame"].to_numpy(np.int64)
    order = np.argsort(indices, kind="stable")
    indices, shapes = indices[order], FaceShapes.from_rows(rows)[order]
    for position, frame in enumerate(frames):
        if frame.error is not None and position == 0:
            raise frame.error
        if frame.error is not None:
            return  # a clip cut short is annotated as far as it goes; the table has the reason
        low, high = np.searchsorted(indices, [frame.index, frame.index + 1])
        canvas = np.ascontiguousarray(frame.image).copy()
        paint(canvas, shapes[low:high], boxes=boxes, landmarks=landmarks, poses=poses)
        yield canvas, frame.time_s


def write_photo(out: Path, image: NDArray[np.uint8], kind: str, note: str = "") -> Path:
    """Write (H, W, 3) uint8 RGB, whole or not at all.

    Args:
        out: the file.
        image: the picture.
        kind: a value of :data:`PHOTOS`.
        note: text of the file's metadata that says what it is.
    """
    options: dict[str, Any] = {}
    if note:
        info, exif = PngInfo(), Image.Exif()
        info.add_text("Description", note)
        exif[_EXIF_DESCRIPTION] = note
        options = {"pnginfo": info} if kind == "PNG" else {"exif": exif, "quality": 95}
    with atomic_path(out) as temporary:
        Image.fromarray(image).save(temporary, format=kind, **options)
    return out


def write_clip(
    out: Path,
    pictures: Iterator[tuple[NDArray[np.uint8], float]],
    container: str,
    note: str = "",
) -> Path:
    """Write pictures at their times as H.264, whole or not at all.

    Args:
        out: the file.
        pictures: (H, W, 3) uint8 RGB and seconds; NaN takes 25 a second.
        container: a value of :data:`CLIPS`.
        note: text of the file's metadata that says what it is.
    """
    with atomic_path(out) as temporary, av.open(str(temporary), "w", format=container) as file:
        if note:
            file.metadata["comment"] = note
        stream = None
        last = -1
        for number, (image, time_s) in enumerate(pictures):
            even = _even(image)
            if stream is None:
                stream = _add_stream(file, even.shape[1], even.shape[0])
            picture = av.VideoFrame.from_ndarray(even, format="rgb24")
            seconds = number / _FPS_WITHOUT_TIMES if math.isnan(time_s) else time_s
            last = max(round(seconds * _TICKS), last + 1)  # players need rising times
            picture.pts, picture.time_base = last, Fraction(1, _TICKS)
            file.mux(stream.encode(picture))
        if stream is not None:
            file.mux(stream.encode())
    return out


def _add_stream(file: av.container.OutputContainer, width: int, height: int) -> av.VideoStream:
    stream = file.add_stream("h264", rate=_FPS_WITHOUT_TIMES, options=dict(_ENCODER))
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.codec_context.time_base = Fraction(1, _TICKS)
    return stream


def _even(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    below, right = image.shape[0] % 2, image.shape[1] % 2
    if not below and not right:
        return image
    padded = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE)
    return np.asarray(padded, np.uint8)
