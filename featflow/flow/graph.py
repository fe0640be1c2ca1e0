"""The order of nodes, from what each one requires and provides."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from featflow.errors import CardError, OptionError, UnmetNeedsError
from featflow.flow.node import Node


def order_nodes(nodes: Sequence[Node], given: Collection[str] = ()) -> list[list[Node]]:
    """Sort nodes into levels; the nodes of a level do not need each other.

    The result depends on the set of nodes, not on the order in which they are given: a node
    stands in the first level where its needs are met, and a level is sorted by node id.

    Args:
        nodes: nodes of a flow.
        given: fields of the faces that enter the flow with the frames.

    Raises:
        UnmetNeedsError: a field is required that no node provides, or only in a circle.
        OptionError: two nodes provide the same field.
    """
    provider = _providers(nodes, given)
    for node in nodes:
        for name in needs(node):
            if name not in provider and name not in given:
                raise UnmetNeedsError(_unmet(node, name))
    known = set(given)
    waiting = sorted(nodes, key=lambda node: node.id)
    levels: list[list[Node]] = []
    while waiting:
        level = [node for node in waiting if known.issuperset(needs(node))]
        if not level:
            circle = ", ".join(f"{node.id} (needs {', '.join(needs(node))})" for node in waiting)
            raise UnmetNeedsError(f"these nodes wait for each other in a circle: {circle}")
        levels.append(level)
        known.update(name for node in level for name in node.provides)
        waiting = [node for node in waiting if node not in level]
    return levels


def needs(node: Node) -> tuple[str, ...]:
    """Fields that must be there before a node; a face node needs boxes, told or not."""
    if node.unit == "face" and "box" not in node.requires:
        return ("box", *node.requires)
    return tuple(node.requires)


def _providers(nodes: Iterable[Node], given: Collection[str]) -> dict[str, Node]:
    provider: dict[str, Node] = {}
    for node in nodes:
        for name in node.provides:
            if name in given:
                raise OptionError(f"{node.id} provides {name!r}, which is given with the input")
            if name in provider:
                raise OptionError(
                    f"{provider[name].id} and {node.id} both provide {name!r}; a flow takes one"
                )
            provider[name] = node
    return provider


def _unmet(node: Node, name: str) -> str:
    # Imported here: the registry knows nodes, and nodes are built on this package.
    from featflow.nodes.registry import available, card_of

    kinds = set()
    for known in available():
        try:
            provides = card_of(known).provides
        except CardError:  # a broken foreign card must not hide what the user did wrong
            continue
        if name in provides:
            kinds.add(known.split("/")[0])
    told = f"{node.id} needs {name!r}, which no node of this flow provides"
    if not kinds:
        return f"{told}, and no registered node does"
    return f"{told}; add a node of kind {' or '.join(sorted(kinds))}"
