"""Bringing one file into the cache: whole or not at all, by one process, continued if cut short."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Protocol

from featflow.errors import MissingExtraError, OutputError
from featflow.files import output_error
from featflow.hub.hashes import remember, sha256_of
from featflow.hub.places import MAIN, cached_path
from featflow.nodes._cards import Source


class TransportError(Exception):
    """A file could not be fetched; the message says why in a few words."""


class NoSuchFileError(TransportError):
    """The repository is there and has no file of that name."""


class Transport(Protocol):
    """What fetches a file."""

    def fetch(self, repository: str, revision: str, name: str, folder: Path) -> Path:
        """Bring a file into a folder.

        Args:
            repository: ``owner/name``.
            revision: commit, tag or branch.
            name: file within the repository.
            folder: writable, used for this file alone. What an earlier call that failed left
                there may be continued.

        Returns:
            Where the whole file lies, within ``folder``.

        Raises:
            TransportError: it could not be fetched.
            MissingExtraError: an optional dependency is needed.
        """


class HubTransport:
    """Fetches through ``huggingface_hub``, which honours ``HF_ENDPOINT`` and ``HF_TOKEN``.

    Args:
        progress: show a progress bar on standard error.
    """

    def __init__(self, progress: bool = False) -> None:
        self.progress = progress

    def fetch(self, repository: str, revision: str, name: str, folder: Path) -> Path:
        """See :meth:`Transport.fetch`."""
        try:
            from huggingface_hub import hf_hub_download
            from huggingface_hub.errors import EntryNotFoundError
        except ImportError as error:
            raise MissingExtraError("downloads need: pip install 'featflow[hub]'") from error
        try:
            path = hf_hub_download(
                repository,
                name,
                revision=revision,
                local_dir=folder,
                endpoint=os.environ.get("HF_ENDPOINT"),
                tqdm_class=None if self.progress else _silent(),
            )
        except EntryNotFoundError as error:
            raise NoSuchFileError(f"{repository} has no file {name}") from error
        # Its errors have no base class of their own, and it lets those of its client through.
        except Exception as error:
            first = str(error).strip().split("\n")[0]
            raise TransportError(f"{type(error).__name__}: {first}") from error
        return Path(path)


def _silent() -> type:
    from tqdm import tqdm

    class Silent(tqdm):  # type: ignore[type-arg]
        def __init__(self, *args: object, **options: object) -> None:
            options.pop("name", None)
            super().__init__(*args, **{**options, "disable": True})  # type: ignore[call-overload]

    return Silent


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
