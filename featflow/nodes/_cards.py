"""Model cards: what a node is, what it may be used for, and what it was measured to do."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from featflow.errors import CardError

CARD_NAME = "card.toml"
_ID = re.compile(r"[a-z0-9_]+/[A-Za-z0-9_.-]+")
_HEX = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

Format = Literal["safetensors", "torch", "skops"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where the weights of a node are published: the table ``[source]`` of its card.

    Attributes:
        repository: ``owner/name`` on the Hugging Face hub.
        files: names within it; the weights come first, what belongs to them follows.
        format: of the weights.
        revision: commit or tag that is meant; empty where none is known, which takes ``main``.
        fallback: another name of the weights, tried where the first does not exist; or empty.
        tensor_bytes: what the tensors occupy by the published layout (the file is a little
            larger); 0 where that is not known.
    """

    repository: str
    files: tuple[str, ...]
    format: Format
    revision: str = ""
    fallback: str = ""
    tensor_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Card:
    """The contents of a ``card.toml``.

    Attributes:
        id: ``kind/name``.
        summary: one line: what goes in and what comes out.
        licence: SPDX expression of code and weights.
        commercial_use: whether the licence and the data allow it.
        size_bytes: size of the weight file; 0 for a node without weights.
        sha256: of the weight file, lower-case hex; empty for a node without weights.
        requires, provides: fields of the faces, as the node declares them.
        data: what the weights were trained on.
        method: architecture and training, with the paper where there is one.
        limits: where the node is known to fail; one statement each.
        consent: what is known of the consent of the people in the data.
        metrics: measured figures: numbers, text, or tables of them.
        source: where the weights are published, for a node that does not ship them.
    """

    id: str
    summary: str
    licence: str
    commercial_use: bool
    size_bytes: int
    sha256: str
    requires: tuple[str, ...]
    provides: tuple[str, ...]
    data: str
    method: str
    limits: tuple[str, ...]
    consent: str
    metrics: Mapping[str, Any]
    source: Source | None = None


_LISTS = ("requires", "provides", "limits")
_KINDS: dict[str, type[Any]] = {
    "commercial_use": bool,
    "size_bytes": int,
    "metrics": dict,
    "source": dict,
    **dict.fromkeys(_LISTS, list),
}


def read_card(path: str | Path) -> Card:
    """Read a ``card.toml``; every key must be there (but ``source``) and no other.

    Raises:
        CardError: the file is missing or not TOML, or a key is missing, unknown or malformed;
            the message names the file and the key.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CardError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CardError(f"{path}: not valid TOML ({error})") from error
    _check_names(path, Card, values)
    for name, value in values.items():
        _check(path, name, value)
    if bool(values["sha256"]) != bool(values["size_bytes"]):
        raise CardError(f"{path}: keys 'sha256' and 'size_bytes' must both be set, or neither")
    frozen: dict[str, Any] = {k: tuple(v) if k in _LISTS else v for k, v in values.items()}
    if "source" in frozen:
        frozen["source"] = _source(path, frozen["source"])
        if frozen["size_bytes"]:
            raise CardError(f"{path}: weights lie beside the card or have a [source], not both")
    return Card(**frozen)


def _check_names(path: Path, made: type[Card] | type[Source], values: Mapping[str, Any]) -> None:
    known = fields(made)
    for entry in known:
        if entry.default is MISSING and entry.name not in values:
            raise CardError(f"{path}: key {entry.name!r} is missing")
    names = [entry.name for entry in known]
    for name in values:
        if name not in names:
            raise CardError(f"{path}: unknown key {name!r}; known keys: {', '.join(names)}")


def _source(path: Path, values: Mapping[str, Any]) -> Source:
    _check_names(path, Source, values)
    for name, value in values.items():
        if not _SOURCE_CHECKS[name](value):
            raise CardError(f"{path}: key 'source.{name}' has the unusable value {value!r}")
    frozen: dict[str, Any] = {k: tuple(v) if k == "files" else v for k, v in values.items()}
    return Source(**frozen)


def _is_name(value: Any) -> bool:
    # Names from a card become parts of a path in the cache and must not climb out of it.
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _is_repository(value: Any) -> bool:
    return isinstance(value, str) and value.count("/") == 1 and all(map(_is_name, value.split("/")))


_SOURCE_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "repository": _is_repository,
    "files": lambda v: isinstance(v, list) and bool(v) and all(map(_is_name, v)),
    "format": lambda v: v in get_args(Format),
    "revision": lambda v: v == "" or _is_name(v),
    "fallback": lambda v: v == "" or _is_name(v),
    "tensor_bytes": lambda v: type(v) is int and v >= 0,
}


def _check(path: Path, name: str, value: Any) -> None:
    kind = _KINDS.get(name, str)
    if type(value) is not kind:
        raise CardError(f"{path}: key {name!r} must be {kind.__name__}, got {type(value).__name__}")
    if name in _LISTS and not all(isinstance(entry, str) for entry in value):
        raise CardError(f"{path}: key {name!r} must list strings")
    if not _usable(name, value):
        raise CardError(f"{path}: key {name!r} has the unusable value {value!r}")


def _usable(name: str, value: Any) -> bool:
    if name == "id":
        return _ID.fullmatch(value) is not None
    if name == "sha256":
        return value == "" or _HEX.fullmatch(value) is not None
    if name == "size_bytes":
        return bool(value >= 0)
    if name == "metrics":
        return _plain(value)
    return not isinstance(value, str) or bool(value.strip())


def _plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_plain(entry) for entry in value.values())
    if isinstance(value, list):
        return all(_plain(entry) for entry in value)
    return isinstance(value, (str, int, float, bool))
