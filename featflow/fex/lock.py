"""A lock that lets one process at a time write a target, and that dies with its process."""

from __future__ import annotations

import errno
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from featflow.errors import OutputError
from featflow.files import output_error

_ORPHANS_S = 10.0
"""How long to wait for the workers of a killed process: they inherit its lock when forked,
and PyTorch's loader workers notice within five seconds that their parent is gone."""

if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> None:
        os.lseek(descriptor, 1 << 20, os.SEEK_SET)  # beyond the text, which others may read
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _try_lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


class FileLock:
    """Exclusive right to write ``target``, held until :meth:`release` or the process's end.

    The system holds the lock, not the file: a lock file that a killed process left behind
    is taken over. The file holds the owner's process id for the message to others.

    Args:
        target: file that is going to be written; the lock is ``.<name>.lock`` beside it.
        wait: wait for a process that has the right now, however long it takes.

    Raises:
        OutputError: another process writes this target, or the folder cannot be written.
    """

    def __init__(self, target: Path, *, wait: bool = False) -> None:
        self.target = target
        self.path = target.with_name(f".{target.name}.lock")
        self._descriptor = -1
        deadline = time.monotonic() + _ORPHANS_S
        while not self._acquire():
            owner = self._owner()
            if not wait and (_is_alive(owner) or time.monotonic() > deadline):
                raise OutputError(
                    f"{target}: process {owner or 'unknown'} is writing it already "
                    f"(wait for it, stop it, or choose another name; lock file {self.path})"
                )
            time.sleep(0.1)

    def _acquire(self) -> bool:
        try:
            descriptor = os.open(self.path, os.O_CREAT | os.O_RDWR, 0o666)
        except OSError as error:
            raise output_error(self.path, error) from error
        try:
            _try_lock(descriptor)
            # The former owner may have removed the file between our opening and locking it.
            if not os.path.samestat(os.fstat(descriptor), os.stat(self.path)):
                raise BlockingIOError
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, str(os.getpid()).encode())
        except OSError as error:
            os.close(descriptor)
            if error.errno not in (None, errno.EACCES, errno.EAGAIN, errno.ENOENT):
                raise output_error(self.path, error) from error
            return False
        self._descriptor = descriptor
        return True

    def _owner(self) -> int:
        try:
            return int(self.path.read_text() or 0)
        except (OSError, ValueError):
            return 0

    def release(self) -> None:
        """Give the right back; calling it again does nothing."""
        if self._descriptor < 0:
            return
        if sys.platform == "win32":  # where an open file cannot be removed
            os.close(self._descriptor)
            with suppress(OSError):
                self.path.unlink()
        else:
            self.path.unlink(missing_ok=True)
            os.close(self._descriptor)
        self._descriptor = -1


def _is_alive(pid: int) -> bool:
    """Whether a process runs; an unknown owner counts as dead, so that we wait a while."""
    if pid <= 0:
        return False
    if sys.platform == "win32":
        return True  # os.kill would end it there; a held lock means that it lives
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
