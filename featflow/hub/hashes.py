"""Hashes of downloaded files: remembered on first use, checked ever after."""

from __future__ import annotations

import hashlib
import logging
import re
from pathlib import Path

from featflow.errors import OutputError, WeightsError
from featflow.files import write_text_atomic

_log = logging.getLogger(__name__)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, lower-case hex.

    Raises:
        WeightsError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from error


def record_path(path: Path) -> Path:
    """Where the hash of a file is remembered: beside it, as ``sha256sum -c`` reads it."""
    return path.with_name(f"{path.name}.sha256")


def checked_hash(path: Path) -> str:
    """Hash of a file in the cache, which must be what it was when the file was first used.

    A hash that cannot be remembered (a cache that others own) is told in the log and used.

    Raises:
        WeightsError: the file has changed, or cannot be read.
    """
    found, record = sha256_of(path), record_path(path)
    if not record.is_file():
        remember(path, found)
        return found
    try:
        words = record.read_text(encoding="ascii").split()
    except (OSError, ValueError) as error:
        raise WeightsError(f"{record}: cannot be read ({error}); delete it") from error
    if not words or re.fullmatch("[0-9a-f]{64}", words[0]) is None:
        raise WeightsError(f"{record}: holds no sha256; delete it to have the hash taken anew")
    if words[0] != found:
        raise WeightsError(
            f"{path}: sha256 is {found}, but was {words[0]} when the file was first used; "
            f"delete the file and {record.name} to fetch it again"
        )
    return found


def remember(path: Path, digest: str) -> None:
    """Write down the hash of a file."""
    try:
        write_text_atomic(record_path(path), f"{digest}  {path.name}\n")
    except OutputError as error:
        _log.warning("the hash of %s cannot be remembered: %s", path, error)
