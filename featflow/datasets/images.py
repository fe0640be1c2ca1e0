"""Photos: from a file or a PIL image to upright uint8 RGB.

What a photo can carry is brought to one form: EXIF orientation is applied, transparency is
laid over white, grey, palette and CMYK become RGB, and 16-bit values are scaled to 8 bits.
Colour profiles are not applied.
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from featflow.datasets.frame import Frame
from featflow.datasets.scaling import scale_between, working_size
from featflow.errors import FeatflowError, ImageError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 50_000_000
"""Photos with more pixels are refused before they are decoded."""

BACKGROUND = (255, 255, 255)
"""RGB that shows through where a photo is transparent."""

_ORIENTATION_TAG = 0x0112
_DEEP_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")


def read_photo(path: str, format_name: str, output_size: int | None = None) -> Frame:
    """Decode one photo.

    Args:
        path: the file.
        format_name: Pillow's name of its format, as :func:`featflow.datasets.sniff.sniff` tells.
        output_size: upper bound of the longer side of the result.

    Raises:
        ImageError: cut short, damaged, or more than 50 megapixels.
    """
    try:
        with open(path, "rb") as file:
            image = _open(file, path, format_name)
            return _to_frame(image, path, output_size, may_draft=True)
    except FeatflowError:
        raise
    except Exception as error:
        # Pillow's decoders raise what comes: OSError, SyntaxError, struct.error, ValueError...
        raise ImageError(path, f"cannot be decoded: {error}", "the file is damaged") from error


def frame_of_pil(image: Image, name: str, output_size: int | None = None) -> Frame:
    """Bring a PIL image to the form that :func:`read_photo` gives; the image stays as it is.

    Raises:
        ImageError: it has no pixels, more than 50 megapixels, or its file cannot be decoded.
    """
    try:
        return _to_frame(image, name, output_size, may_draft=False)
    except FeatflowError:
        raise
    except Exception as error:
        raise ImageError(name, f"cannot be decoded: {error}") from error


def _open(file: io.BufferedReader, path: str, format_name: str) -> Image:
    """Open without ``Image.open``: that warns of large pictures through the process's filters."""
    from PIL import Image as pil

    if format_name == "WEBP":
        # Pillow allocates a whole WebP canvas on opening; its size stands in the header.
        _check_pixels(path, *_webp_size(file.read(30)))
        file.seek(0)
    pil.preinit()
    if format_name not in pil.OPEN:
        pil.init()
    factory = pil.OPEN[format_name][0]
    image: Image = factory(file, os.fsencode(path) if os.name != "nt" else path)
    return image


def _webp_size(head: bytes) -> tuple[int, int]:
    """Width and height from a WebP header (RFC 9649)."""
    chunk = head[12:16]
    if chunk == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if chunk == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return (
        int.from_bytes(head[26:28], "little") & 0x3FFF,
        int.from_bytes(head[28:30], "little") & 0x3FFF,
    )


def _check_pixels(name: str, width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(name, f"has no pixels: {width} x {height}")
    if width * height > MAX_PIXELS:
        raise ImageError(
            name,
            f"{width} x {height} is more than {MAX_PIXELS // 10**6} megapixels",
            "scale it down first",
        )


def _to_frame(image: Image, name: str, output_size: int | None, may_draft: bool) -> Frame:
    _check_pixels(name, *image.size)
    orientation = _orientation(image)
    if image.format == "TIFF":
        orientation = 1  # Pillow turns TIFF, and TIFF alone, as it loads
    width, height = image.size
    work_h, work_w = working_size((height, width), output_size)
    if may_draft and image.format == "JPEG":
        image.draft(None, (work_w, work_h))
    image.load()
    rgb = _to_rgb(image, name)
    if (work_w, work_h) != (width, height):
        rgb = _reduce(rgb, (width, height), (work_w, work_h))
    pixels = np.array(rgb)  # a copy: what Pillow lends is read-only, and torch warns of that
    upright = orient(pixels, orientation)
    size_px = (height, width) if orientation < 5 else (width, height)
    scale = scale_between(size_px, upright.shape[:2])
    return Frame(np.ascontiguousarray(upright), name, size_px=size_px, scale=scale)


def _reduce(rgb: Image, stored: tuple[int, int], work: tuple[int, int]) -> Image:
    """Average to the working size, from a JPEG that was perhaps decoded at a fraction.

    A fraction rounds sizes up (1001 columns halve to 501), so its last column is only partly
    covered by the picture: the box says how far the picture really reaches.
    """
    from PIL.Image import Resampling

    factor = round(stored[0] / rgb.width) or 1
    if factor == 1:
        factor = round(stored[1] / rgb.height) or 1
    box = (0.0, 0.0, stored[0] / factor, stored[1] / factor)
    # Pillow's BOX counts pixels whole or not at all, which moves edges; BILINEAR is a triangle
    # as wide as two working pixels and keeps them in place.
    return rgb.resize(work, Resampling.BILINEAR, box=box)


def _orientation(image: Image) -> int:
    """EXIF orientation 1..8; 1 where there is none or it cannot be read."""
    try:
        value = int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # noqa: BLE001 - a photo with a broken EXIF block is still a photo
        return 1
    return value if 1 <= value <= 8 else 1


def orient(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn stored pixels (H, W, 3) upright, by the EXIF orientation 1..8 (CIPA DC-008)."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def _to_rgb(image: Image, name: str) -> Image:
    from PIL import Image as pil

    if image.mode in _DEEP_MODES:
        return pil.fromarray(_eight_bits(np.asarray(image), name)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        base = pil.new("RGBA", layer.size, (*BACKGROUND, 255))
        return pil.alpha_composite(base, layer).convert("RGB")
    return image.convert("RGB")


def _eight_bits(values: NDArray[np.generic], name: str) -> NDArray[np.uint8]:
    """Scale 16-bit whole numbers, or floats in 0..1, to 0..255."""
    deep = values.astype(np.float64)
    top = 1.0 if values.dtype.kind == "f" else 65535.0
    if not np.isfinite(deep).all() or deep.min() < 0 or deep.max() > top:
        raise ImageError(name, f"grey values must lie in 0..{top:g}", "convert it to 8 or 16 bits")
    return np.round(deep * (255.0 / top)).astype(np.uint8)
