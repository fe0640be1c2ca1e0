"""Packing frames for a cache: bytes in, the same frame out.

Only the part that differs from the still is kept. A packed frame begins with its box, so any
codec of this module's family can tell where it belongs.
"""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from featflow.errors import FeatflowError, OptionError

Image = NDArray[np.uint8]
Box = tuple[int, int, int, int]

_HEADER = struct.Struct("<4H")


class DamagedFrameError(FeatflowError):
    """A packed frame cannot be unpacked; the cache treats it as missing."""


class Codec(Protocol):
    """Packs frames of one still.

    Attributes:
        name: kept with stored frames; differs wherever the bytes mean something else.
        lossless: whether unpacking gives the packed frame, bit by bit.
    """

    name: str
    lossless: bool

    def pack(self, frame: Image, still: Image) -> bytes:
        """Bytes of a frame (H, W, 4)."""

    def unpack(self, packed: bytes, still: Image, out: Image) -> None:
        """Write the packed frame into ``out``."""


class RawCodec:
    """The frame as it is, 1 MiB at 512 by 512; the fastest."""

    name = "raw"
    lossless = True

    def pack(self, frame: Image, still: Image) -> bytes:
        """Bytes of a frame."""
        return frame.tobytes()

    def unpack(self, packed: bytes, still: Image, out: Image) -> None:
        """Write the packed frame into ``out``."""
        if len(packed) != out.nbytes:
            raise DamagedFrameError(f"a raw frame has {len(packed)} bytes, not {out.nbytes}")
        out[...] = np.frombuffer(packed, np.uint8).reshape(out.shape)


class Zstd:
    """Zstandard at its quick level, by pyarrow: smaller than zlib's and five times as quick."""

    def __init__(self) -> None:
        import pyarrow as pa

        self._codec = pa.Codec("zstd", 1)
        self._errors = (pa.ArrowException, OSError, ValueError)

    def pack(self, array: Image) -> bytes:
        """Bytes of an array."""
        packed: bytes = self._codec.compress(array.tobytes(), asbytes=True)
        return packed

    def unpack(self, packed: bytes | memoryview, shape: tuple[int, ...]) -> Image:
        """The array of a known shape.

        Raises:
            DamagedFrameError: the bytes are none, or of another shape.
        """
        size = int(np.prod(shape))
        if size == 0:
            return np.zeros(shape, np.uint8)
        try:
            content = self._codec.decompress(packed, size)
            return np.frombuffer(content, np.uint8).reshape(shape)
        except self._errors as error:
            raise DamagedFrameError(f"a packed frame is damaged: {error}") from error


class RegionCodec:
    """The changed box, packed after each row has been subtracted from the one above.

    Lossless. Subtracting first (PNG's "up" filter) makes photographs a third smaller; alpha is
    left out where it is that of the still.
    """

    name = "region-zstd"
    lossless = True

    def __init__(self) -> None:
        self._zstd = Zstd()

    def pack(self, frame: Image, still: Image) -> bytes:
        """Bytes of a frame."""
        box = changed_box(frame, still)
        part = _part(frame, box)
        channels = 3 if np.array_equal(part[..., 3], _part(still, box)[..., 3]) else 4
        difference = part[..., :channels].copy()
        difference[1:] -= part[:-1, :, :channels]
        return _HEADER.pack(*box) + bytes([channels]) + self._zstd.pack(difference)

    def unpack(self, packed: bytes, still: Image, out: Image) -> None:
        """Write the packed frame into ``out``."""
        np.copyto(out, still)
        box = _read_box(packed, still)
        part = _part(out, box)
        channels = packed[_HEADER.size] if len(packed) > _HEADER.size else 0
        if channels not in (3, 4):
            raise DamagedFrameError("a packed frame is cut short")
        content = memoryview(packed)[_HEADER.size + 1 :]
        rows = self._zstd.unpack(content, (*part.shape[:2], channels)).copy()
        _add_up(rows)
        part[..., :channels] = rows


def _add_up(rows: Image) -> None:
    # Row by row the processor adds whole vectors; numpy's accumulate goes byte by byte.
    flat = rows.reshape(rows.shape[0], rows.shape[1] * rows.shape[2])
    for above, row in pairwise(flat):
        np.add(row, above, out=row)


class JpegCodec:
    """The changed box as JPEG, its alpha lossless beside it.

    Colour under transparency is not kept apart; the still around the box stays exact.

    Args:
        quality: 0 to 99.
    """

    lossless = False

    def __init__(self, quality: int) -> None:
        if not 0 <= quality <= 99:
            raise OptionError(f"JPEG quality must be 0..99, got {quality}")
        self._quality = quality
        self._zstd = Zstd()
        self.name = f"region-jpeg{quality}"

    def pack(self, frame: Image, still: Image) -> bytes:
        """Bytes of a frame."""
        box = changed_box(frame, still)
        part = _part(frame, box)
        if part.size == 0:
            return _HEADER.pack(*box)
        options = [cv2.IMWRITE_JPEG_QUALITY, self._quality]
        options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
        done, jpeg = cv2.imencode(".jpg", np.ascontiguousarray(part[..., :3]), options)
        if not done:
            raise FeatflowError("OpenCV could not write a JPEG")
        alpha = self._zstd.pack(part[..., 3])
        return _HEADER.pack(*box) + struct.pack("<I", len(alpha)) + alpha + jpeg.tobytes()

    def unpack(self, packed: bytes, still: Image, out: Image) -> None:
        """Write the packed frame into ``out``."""
        np.copyto(out, still)
        box = _read_box(packed, still)
        part = _part(out, box)
        if part.size == 0:
            return
        try:
            (length,) = struct.unpack_from("<I", packed, _HEADER.size)
            start = _HEADER.size + 4
            alpha = self._zstd.unpack(packed[start : start + length], part.shape[:2])
            jpeg = np.frombuffer(packed, np.uint8, offset=start + length)
            colour = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
            part[..., :3] = np.asarray(colour, np.uint8)
            part[..., 3] = alpha
        except (struct.error, ValueError, TypeError, cv2.error) as error:
            raise DamagedFrameError(f"a packed frame is damaged: {error}") from error


def codec_for_quality(quality: int) -> Codec:
    """Codec of the document's ``cacher_quality``: 100 raw, below that JPEG."""
    if isinstance(quality, bool) or not isinstance(quality, int) or not 0 <= quality <= 100:
        raise OptionError(f"cacher_quality must be a whole number 0..100, got {quality!r}")
    return RawCodec() if quality == 100 else JpegCodec(quality)


def changed_box(frame: Image, still: Image) -> Box:
    """Smallest x0, y0, x1, y1 that holds every pixel that differs; 0, 0, 0, 0 if none does."""
    words = np.ascontiguousarray(frame).view(np.uint32)[..., 0]
    same = words == np.ascontiguousarray(still).view(np.uint32)[..., 0]
    rows = np.flatnonzero(~same.all(1))
    if not len(rows):
        return 0, 0, 0, 0
    columns = np.flatnonzero(~same[rows[0] : rows[-1] + 1].all(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _part(image: Image, box: Box) -> Image:
    x0, y0, x1, y1 = box
    return image[y0:y1, x0:x1]


def _read_box(packed: bytes, still: Image) -> Box:
    try:
        x0, y0, x1, y1 = _HEADER.unpack_from(packed)
    except struct.error as error:
        raise DamagedFrameError("a packed frame is cut short") from error
    if not (x0 <= x1 <= still.shape[1] and y0 <= y1 <= still.shape[0]):
        raise DamagedFrameError("a packed frame does not fit the still")
    return x0, y0, x1, y1
