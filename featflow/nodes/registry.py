"""Finding nodes by ``kind/name``: those inside featflow, and those of other distributions.

Nothing is kept in memory and nothing registers itself: built-in nodes are the folders
``featflow/nodes/<kind>/<name>``, foreign ones the entry points of the group
``featflow.nodes``. Listing imports no node and no torch.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featflow.errors import CardError, NodeError, OptionError, UnknownNodeError
from featflow.nodes._cards import CARD_NAME, Card, read_card

if TYPE_CHECKING:
    from featflow.flow.node import Node

GROUP = "featflow.nodes"
_HERE = Path(__file__).parent
_log = logging.getLogger(__name__)


def available(kind: str | None = None) -> list[str]:
    """Known nodes as ``"kind/name"``, sorted; nothing is imported.

    Args:
        kind: only nodes of this kind.
    """
    known = {*_built_in(), *_foreign()}
    return sorted(node for node in known if kind is None or node.split("/")[0] == kind)


def get_node_class(kind: str, name: str) -> type[Node]:
    """Import a node.

    Raises:
        UnknownNodeError: no such node; the message lists those of the kind.
        NodeError: its module cannot be imported, or does not hold a node.
    """
    from featflow.flow.node import Node

    found = _locate(f"{kind}/{name}")
    if found is None:
        known = [node.split("/", 1)[1] for node in available(kind)]
        raise UnknownNodeError(kind, name, known)
    try:
        made = found.load() if isinstance(found, EntryPoint) else import_module(found).NODE
    except Exception as error:
        raise NodeError(
            f"{kind}/{name} cannot be imported ({_origin(found)}): {type(error).__name__}: {error}"
        ) from error
    if not (inspect.isclass(made) and issubclass(made, Node)):
        raise NodeError(f"{kind}/{name} ({_origin(found)}) is not a subclass of Node: {made!r}")
    if (made.kind, made.name) != (kind, name):
        raise NodeError(f"{kind}/{name} ({_origin(found)}) calls itself {made.kind}/{made.name}")
    return made


def make_node(
    kind: str, spec: str | Node | type[Node], options: Mapping[str, Any] | None = None
) -> Node:
    """Build a node for a slot; nothing is loaded yet.

    Args:
        kind: slot, such as ``"face"``.
        spec: a registered name, a class, or a node that is used as it is.
        options: arguments of the node's constructor.

    Raises:
        UnknownNodeError: no such name.
        OptionError: an option is unknown or missing, the node is of another kind, or options
            are given for a node that is already built.
    """
    from featflow.flow.node import Node

    options = dict(options or {})
    if isinstance(spec, Node):
        if options:
            raise OptionError(
                f"{spec.id} is already built; options {sorted(options)} come too late"
            )
        node = spec
    elif isinstance(spec, str):
        node = _built(get_node_class(kind, spec), options)
    elif inspect.isclass(spec) and issubclass(spec, Node):
        node = _built(spec, options)
    else:
        raise OptionError(f"a {kind} node is a name, a Node or a class of Node, got {spec!r}")
    if node.kind != kind:
        raise OptionError(f"{node.id} cannot be used as a {kind} node")
    return node


def card_of(node: str) -> Card:
    """Model card of a registered node, read without importing the node.

    Args:
        node: ``"kind/name"``.

    Raises:
        UnknownNodeError: no such node.
        CardError: it has no card, or a malformed one.
    """
    kind, _, name = node.partition("/")
    found = _locate(node)
    if found is None:
        raise UnknownNodeError(kind, name, [n.split("/", 1)[1] for n in available(kind)])
    module = found.module if isinstance(found, EntryPoint) else found
    try:
        spec = find_spec(module)
    except Exception as error:  # a foreign package may do anything when it is imported
        raise CardError(f"{node}: {_origin(found)} cannot be found: {error}") from error
    if spec is None or spec.origin is None:
        raise CardError(f"{node}: {_origin(found)} cannot be found")
    card = read_card(Path(spec.origin).parent / CARD_NAME)
    if card.id != node:
        raise CardError(
            f"{Path(spec.origin).parent / CARD_NAME}: key 'id' is {card.id!r}, not {node!r}"
        )
    return card


def _built(cls: type[Node], options: dict[str, Any]) -> Node:
    parameters = inspect.signature(cls).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        unknown = sorted(options.keys() - parameters.keys())
        if unknown:
            listed = ", ".join(parameters) or "none"
            raise OptionError(
                f"{cls.kind}/{cls.name} has no option {', '.join(unknown)}; its options: {listed}"
            )
    missing = [
        name
        for name, p in parameters.items()
        if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    missing = [name for name in missing if name not in options]
    if missing:
        raise OptionError(f"{cls.kind}/{cls.name} needs the option {', '.join(missing)}")
    return cls(**options)


def _built_in() -> list[str]:
    return [
        f"{folder.parent.name}/{folder.name}"
        for folder in _HERE.glob("[!_]*/[!_]*")
        if (folder / "__init__.py").is_file()
    ]


def _foreign() -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        kind, _, name = entry.name.partition("/")
        if not kind or not name or "/" in name:
            _log.warning("entry point %r is ignored: its name is not kind/name", entry.name)
        else:
            found.setdefault(entry.name, entry)
    return found


def _locate(node: str) -> str | EntryPoint | None:
    if node in _built_in():
        return f"{__package__}.{node.replace('/', '.')}"
    return _foreign().get(node)


def _origin(found: str | EntryPoint) -> str:
    return f"entry point {found.value}" if isinstance(found, EntryPoint) else found
