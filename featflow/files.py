"""Writing files so that a reader finds the old file or the whole new one, nothing between."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from featflow.errors import FeatflowError, OutputError

_REMEDIES = {
    errno.ENOSPC: "the disk is full: free some space, or write elsewhere",
    errno.EDQUOT: "the quota is used up: free some space, or write elsewhere",
    errno.EFBIG: "the file grows larger than allowed: raise the limit, or write elsewhere",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "the disk is read-only: write elsewhere",
}


def output_error(path: Path, error: OSError) -> OutputError:
    """What to tell the user when the system refuses to write ``path``."""
    reason = error.strerror or str(error)
    remedy = _REMEDIES.get(error.errno or 0, "check the folder, or write elsewhere")
    return OutputError(f"{path}: cannot be written: {reason} ({remedy})")


def require_folder(path: Path) -> None:
    """Raise :class:`OutputError` unless the folder of ``path`` is there."""
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent} (create it first)")
    if path.is_dir():
        raise OutputError(f"{path}: is a folder (give the name of a file)")


@contextmanager
def atomic_path(path: Path, scratch: Path | None = None) -> Iterator[Path]:
    """Give a temporary path that becomes ``path`` when the block ends without an error.

    Args:
        path: file to write or replace.
        scratch: folder for the temporary file, on the same disk; that of ``path`` if None.

    Raises:
        OutputError: there is no such folder, or the system refused to write.
    """
    require_folder(path)
    temporary = (scratch or path.parent) / f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        # Created here, not by tempfile, so that the user's umask decides who may read it.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    except OSError as error:
        if isinstance(error, FeatflowError):
            raise
        raise output_error(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write a file that is held in memory, whole or not at all."""
    with atomic_path(Path(path)) as temporary:
        temporary.write_bytes(content)


def write_text_atomic(path: Path, text: str) -> None:
    """Write a small text file, UTF-8, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _sync(path: Path) -> None:
    """Flush a file or folder to the disk; folders cannot be opened on Windows."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
