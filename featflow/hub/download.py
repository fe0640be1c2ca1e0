"""Bringing one file into the cache: whole or not at all, by one process, continued if cut short."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from featflow.errors import OutputError
from featflow.files import output_error
from featflow.hub.hashes import remember, sha256_of
from featflow.hub.places import MAIN, cached_path
from featflow.hub.transport import Transport
from featflow.nodes._cards import Source


def download(source: Source, name: str, transport: Transport) -> Path:
    """Fetch a file into the cache, unless another process does so meanwhile.

    A download that fails leaves what it has, so that the next one can go on from there.

    Returns:
        Where the file lies in the cache; its hash is remembered.

    Raises:
        TransportError: it could not be fetched.
        MissingExtraError: the transport needs an optional dependency.
        OutputError: the cache cannot be written.
    """
    from featflow.fex.lock import FileLock

    target = cached_path(source, name)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(target, error) from error
    lock = FileLock(target, wait=True)
    try:
        if not target.is_file():
            _fetch(source, name, target, transport)
    finally:
        lock.release()
    return target


def _fetch(source: Source, name: str, target: Path, transport: Transport) -> None:
    staging = target.with_name(f".{name}.part")
    try:
        staging.mkdir(exist_ok=True)
        path = transport.fetch(source.repository, source.revision or MAIN, name, staging)
        digest = sha256_of(path)
        with path.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(path, target)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise output_error(target, error) from error
    remember(target, digest)
    shutil.rmtree(staging, ignore_errors=True)
