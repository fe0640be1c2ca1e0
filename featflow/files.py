"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from featflow.errors import OutputError


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write ``content`` to ``path``: whole or not at all, even if the machine dies.

    Raises:
        OutputError: the folder is missing or not writable, or the disk is full.
    """
    path = Path(path)
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise _explained(path, error) from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _explained(path, error) from error
        raise


def _umask() -> int:
    # The mask can only be read by setting it; mkstemp files are private, ours need not be.
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    except OSError:
        pass
    return 0o022


def _explained(path: Path, error: OSError) -> OutputError:
    if not path.parent.is_dir():
        return OutputError(f"{path}: the folder {path.parent} does not exist; create it first")
    return OutputError(f"{path}: cannot write: {error.strerror or error}")
