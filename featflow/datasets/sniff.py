"""Telling what a file is by its first bytes, whatever its name says.

Only the formats listed here are ever handed to a decoder. FFmpeg in particular would
accept text playlists that make it open other files or addresses.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import Literal

from featflow.errors import ImageError, InputError, MissingInputError, VideoError

Medium = Literal["photo", "clip"]

PHOTO_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".heic"}
    | {".heif", ".avif"}
)
CLIP_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".qt", ".3gp", ".mkv", ".webm", ".avi", ".ts", ".m2ts", ".mts"}
    | {".mpg", ".mpeg", ".vob", ".flv", ".ogv", ".wmv", ".asf", ".gif"}
)

_HEAD_BYTES = 400
_PREFIXES: tuple[tuple[bytes, Medium, str], ...] = (
    (b"\xff\xd8\xff", "photo", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "photo", "PNG"),
    (b"BM", "photo", "BMP"),
    (b"II*\x00", "photo", "TIFF"),
    (b"MM\x00*", "photo", "TIFF"),
    (b"II+\x00", "photo", "TIFF"),
    (b"MM\x00+", "photo", "TIFF"),
    (b"\x1aE\xdf\xa3", "clip", "matroska"),
    (b"GIF8", "clip", "gif"),
    (b"FLV\x01", "clip", "flv"),
    (b"OggS", "clip", "ogg"),
    (b"0&\xb2u\x8ef\xcf\x11", "clip", "asf"),
    (b"\x00\x00\x01\xba", "clip", "mpeg"),
    (b"\x00\x00\x01\xb3", "clip", "mpegvideo"),
)
_MOV_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_STILL_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis")
_SOUND = (b"ID3", b"fLaC", b"\xff\xfb", b"\xff\xf3")


@dataclass(frozen=True, slots=True)
class FileKind:
    """What a file is.

    Attributes:
        medium: ``"photo"`` or ``"clip"``.
        format: Pillow's name of a photo's format, FFmpeg's name of a clip's container.
    """

    medium: Medium
    format: str


def sniff(path: str) -> FileKind:
    """Tell what the file at ``path`` is.

    Raises:
        MissingInputError: there is no such file.
        ImageError, VideoError: it is empty or damaged, and its name promised a photo, a clip.
        InputError: it is something else.
    """
    head = _read_head(path)
    if not head:
        raise _error_for(path)(path, "the file is empty")
    kind = classify(head)
    if kind is not None:
        return kind
    if head[4:8] == b"ftyp":
        raise ImageError(path, "HEIC and AVIF photos are not read", "convert it to JPEG or PNG")
    if head.startswith(_SOUND) or head[8:12] == b"WAVE":
        raise VideoError(path, "holds sound and no video stream")
    raise _error_for(path)(
        path,
        "is neither a photo nor a clip that featflow reads",
        "photos: JPEG, PNG, WebP, BMP, TIFF; clips: MP4, MOV, MKV, WebM, AVI, MPEG, ...",
    )


def classify(head: bytes) -> FileKind | None:
    """What a file is that begins with these bytes; None where it is nothing we read."""
    for prefix, medium, name in _PREFIXES:
        if head.startswith(prefix):
            return FileKind(medium, name)
    if head[:4] == b"RIFF":
        return {b"WEBP": FileKind("photo", "WEBP"), b"AVI ": FileKind("clip", "avi")}.get(
            head[8:12]
        )
    if head[4:8] in _MOV_ATOMS:
        still = head[4:8] == b"ftyp" and head[8:12] in _STILL_BRANDS
        return None if still else FileKind("clip", "mov")
    return FileKind("clip", "mpegts") if _is_transport_stream(head) else None


def looks_like_media(path: str) -> bool:
    """Whether a file found in a folder is meant: by its name, or else by its content."""
    if os.path.splitext(path)[1].lower() in PHOTO_SUFFIXES | CLIP_SUFFIXES:
        return True
    try:
        return classify(_read_head(path)) is not None
    except InputError:
        return False


def _is_transport_stream(head: bytes) -> bool:
    """Sync bytes every 188 bytes, or every 192 as cameras write them."""
    plain = len(head) > 376 and head[0] == head[188] == head[376] == 0x47
    return plain or (len(head) > 388 and head[4] == head[196] == head[388] == 0x47)


def _read_head(path: str) -> bytes:
    try:
        # A pipe or a device would block or never end; only plain files are opened.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise InputError(path, "is not a plain file")
        with open(path, "rb") as file:
            return file.read(_HEAD_BYTES)
    except FileNotFoundError as error:
        raise MissingInputError(path, "no such file", _hint_for_missing(path)) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(path, f"cannot be opened: {reason}") from error


def _hint_for_missing(path: str) -> str:
    return "addresses are not read; download it first" if "://" in path else "check the path"


def _error_for(path: str) -> type[InputError]:
    suffix = os.path.splitext(path)[1].lower()
    if suffix in PHOTO_SUFFIXES:
        return ImageError
    return VideoError if suffix in CLIP_SUFFIXES else InputError
