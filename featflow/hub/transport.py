"""Fetching a file over the network into a folder, going on where an earlier attempt broke off."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from featflow.errors import MissingExtraError
from featflow.hub.hashes import sha256_of

ATTEMPTS = 3
TIMEOUT_S = 30.0
_PIECE = 1 << 18


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
    """Fetches from the Hugging Face hub.

    ``huggingface_hub`` finds the file and knows about tokens and ``HF_ENDPOINT``. The bytes are
    fetched here, because that library starts anew when a download failed.

    Args:
        progress: show a progress bar on standard error.
    """

    def __init__(self, progress: bool = False) -> None:
        self.progress = progress

    def fetch(self, repository: str, revision: str, name: str, folder: Path) -> Path:
        """See :meth:`Transport.fetch`."""
        try:
            from huggingface_hub import get_hf_file_metadata, hf_hub_url
            from huggingface_hub.errors import EntryNotFoundError

            # The module does not list it among its names, which a type checker minds.
            build_headers: Any = import_module("huggingface_hub.utils").build_hf_headers
        except ImportError as error:
            raise MissingExtraError("downloads need: pip install 'featflow[hub]'") from error
        endpoint = os.environ.get("HF_ENDPOINT")
        try:
            address = hf_hub_url(repository, name, revision=revision, endpoint=endpoint)
            found = get_hf_file_metadata(address, endpoint=endpoint)
            headers = build_headers()
        except EntryNotFoundError as error:
            raise NoSuchFileError(f"{repository} has no file {name}") from error
        # Its errors have no base class of their own, and it lets those of its client through.
        except Exception as error:
            raise TransportError(f"{type(error).__name__}: {_first_line(error)}") from error
        if urlsplit(found.location).netloc != urlsplit(address).netloc:
            headers.pop("authorization", None)  # a token is for the hub and not for its storage
        etag = found.etag or ""
        remote = RemoteFile(found.location, found.size, etag, headers)
        # Named after its content, so that a part of an older version is never continued.
        partial = folder / f"{re.sub('[^0-9A-Za-z]', '', etag)[:64]}-{name}"
        fetch_file(remote, partial, progress=self.progress)
        return partial


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that a server offers.

    Attributes:
        address: ``http`` or ``https``.
        size: bytes, where known.
        etag: of the content; where it is a SHA-256, as for large files on the hub, it is checked.
        headers: to send.
    """

    address: str
    size: int | None
    etag: str
    headers: Mapping[str, str]


def fetch_file(remote: RemoteFile, target: Path, progress: bool = False) -> None:
    """Fetch a file; what ``target`` has already is not fetched again.

    A connection that is lost is taken up again twice; ``target`` keeps what has arrived.

    Raises:
        TransportError: it could not be fetched whole, or is not what the server says.
        OSError: ``target`` cannot be written.
    """
    if urlsplit(remote.address).scheme not in ("http", "https"):
        raise TransportError(f"{remote.address} is no web address")
    for attempt in range(ATTEMPTS):
        try:
            _fetch_rest(remote, target, progress)
            break
        except _LostError as error:
            if attempt == ATTEMPTS - 1:
                raise TransportError(str(error)) from error
    if re.fullmatch("[0-9a-f]{64}", remote.etag) and sha256_of(target) != remote.etag:
        target.unlink()
        raise TransportError("what arrived is not what the server has (sha256)")


class _LostError(Exception):
    """The connection broke; another attempt may go on."""


def _fetch_rest(remote: RemoteFile, target: Path, progress: bool) -> None:
    have = target.stat().st_size if target.exists() else 0
    if have == remote.size and have:
        return
    if remote.size is None or have > remote.size:
        have = 0  # what is there cannot be the beginning, or may be all of it
    headers = {**remote.headers, **({"Range": f"bytes={have}-"} if have else {})}
    try:
        answer = urlopen(Request(remote.address, headers=headers), timeout=TIMEOUT_S)  # noqa: S310
    except HTTPError as error:
        error.close()
        kind = NoSuchFileError if error.code == 404 else TransportError
        raise kind(f"the server says {error.code} {error.reason}") from error
    except (OSError, HTTPException) as error:
        raise _LostError(_first_line(error)) from error
    with answer:
        # A server that does not know ranges answers 200 with the whole file.
        start = have if answer.status == 206 else 0
        _write(answer, target, start, remote.size, progress)
    arrived = target.stat().st_size
    if remote.size is not None and arrived != remote.size:
        raise _LostError(f"the connection was lost after {arrived} of {remote.size} bytes")


def _write(answer: Any, target: Path, start: int, size: int | None, progress: bool) -> None:
    from tqdm import tqdm

    bar = tqdm(total=size, initial=start, unit="B", unit_scale=True, disable=not progress)
    with bar, target.open("ab" if start else "wb") as file:
        while True:
            try:
                piece = answer.read(_PIECE)
            except (OSError, HTTPException) as error:
                raise _LostError(_first_line(error)) from error
            if not piece:
                return
            file.write(piece)
            bar.update(len(piece))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
