"""From a card to the files on this machine, fetched where they must be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from featflow.errors import (
    MissingExtraError,
    MissingHubError,
    OptionError,
    OutputError,
    WeightsError,
)
from featflow.hub.checkpoint import converted_name
from featflow.hub.download import download
from featflow.hub.hashes import checked_hash
from featflow.hub.places import cache_folder, cached_path, local_paths, offline
from featflow.hub.transport import HubTransport, NoSuchFileError, Transport, TransportError
from featflow.nodes._cards import Card, Source

if TYPE_CHECKING:
    from featflow.flow.node import Node

Weights = str | PathLike[str]


def find(card: Card, weights: Weights | None = None) -> tuple[Path, ...] | None:
    """Files of a node that are here already; nothing is fetched.

    Args:
        card: with a ``[source]``.
        weights: a file or folder that the caller gives.

    Returns:
        Paths in the order of ``card.source.files``; None where one of them is not here.

    Raises:
        WeightsError: ``weights`` does not exist, or does not hold them.
    """
    source = _source_of(card)
    paths = [_find_one(card, source, name, weights) for name in source.files]
    return tuple(path for path in paths if path) if all(paths) else None


def obtain(
    card: Card, weights: Weights | None = None, transport: Transport | None = None
) -> tuple[Path, ...]:
    """Files of a node, fetched into the cache where they are not here.

    Files in the cache must be those that were used first; files that the caller gives, or that
    lie in ``FEATFLOW_WEIGHTS``, are the caller's own and may change.

    Args:
        card: with a ``[source]``.
        weights: a file or folder that the caller gives.
        transport: what fetches; ``huggingface_hub`` where None.

    Returns:
        Paths in the order of ``card.source.files``.

    Raises:
        WeightsError: a file is not here and cannot be fetched, or has changed; the message
            names file, repository and the three ways to provide it.
    """
    source = _source_of(card)
    paths = []
    for name in source.files:
        path = _find_one(card, source, name, weights) or _fetched(card, source, name, transport)
        if path.is_relative_to(cache_folder()):
            checked_hash(path)
        paths.append(path)
    return tuple(paths)


def give_weights(nodes: Iterable[Node], weights: Mapping[str, Weights]) -> None:
    """Tell nodes where their weights lie, before they are loaded.

    Args:
        nodes: the nodes of a detector.
        weights: node id to file or folder.

    Raises:
        OptionError: an id is none of ``nodes``, or that node's weights cannot be replaced.
    """
    from featflow.nodes._published import PublishedNode

    known = {node.id: node for node in nodes}
    for node_id, path in weights.items():
        if node_id not in known:
            listed = ", ".join(known) or "none"
            raise OptionError(f"weights name {node_id!r}; nodes of this detector: {listed}")
        node = known[node_id]
        if not isinstance(node, PublishedNode):
            raise OptionError(f"{node_id} ships its weights, or has none; none can be given")
        node.weights = path


def _source_of(card: Card) -> Source:
    if card.source is None:
        raise OptionError(f"{card.id}: its card has no [source], so there is nothing to look for")
    return card.source


def _names(source: Source, name: str) -> list[str]:
    """Names under which a file may lie here: converted, its own, and the older one."""
    if name != source.files[0]:
        return [name]
    names = [converted_name(name), name, source.fallback]
    return list(dict.fromkeys(n for n in names if n))


def _find_one(card: Card, source: Source, name: str, weights: Weights | None) -> Path | None:
    names = _names(source, name)
    given = _given(card, source, name, weights)
    if given is not None:
        return given
    local = [path for each in names for path in local_paths(card.id, source, each)]
    cached = [cached_path(source, each) for each in names]
    return next((path for path in [*local, *cached] if path.is_file()), None)


def _given(card: Card, source: Source, name: str, weights: Weights | None) -> Path | None:
    if weights is None:
        return None
    path = Path(weights)
    if not path.exists():
        raise WeightsError(f"{path}: no such file or folder, given as the weights of {card.id}")
    is_main = name == source.files[0]
    if path.is_file():
        beside = path if is_main else path.with_name(name)
        return beside if beside.is_file() else None
    inside = [path / each for each in _names(source, name) if (path / each).is_file()]
    if is_main and not inside:
        raise WeightsError(f"{path}: no file {name}, which the weights of {card.id} are")
    return inside[0] if inside else None


def _fetched(card: Card, source: Source, name: str, transport: Transport | None) -> Path:
    if offline():
        raise WeightsError(_absent(card, source, name, "FEATFLOW_OFFLINE or HF_HUB_OFFLINE is set"))
    carrier = transport or HubTransport()
    try:
        try:
            return download(source, name, carrier)
        except NoSuchFileError:
            if name != source.files[0] or not source.fallback:
                raise
            return download(source, source.fallback, carrier)
    except MissingExtraError as error:
        raise MissingHubError(_absent(card, source, name, str(error))) from error
    except (TransportError, OutputError) as error:
        raise WeightsError(_absent(card, source, name, str(error))) from error


def _absent(card: Card, source: Source, name: str, reason: str) -> str:
    return (
        f"{card.id}: {name} of {source.repository} is not here and cannot be fetched ({reason}). "
        f'Provide it in one of three ways: Detector(weights={{"{card.id}": "/path/to/{name}"}}); '
        f"put it at {card.id}/{name} in a folder and set FEATFLOW_WEIGHTS to that folder; or, "
        f"with a network, pip install 'featflow[hub]' and featflow download {card.id}, which "
        f"keeps it in {cache_folder()} (set FEATFLOW_HOME to keep it elsewhere)"
    )
