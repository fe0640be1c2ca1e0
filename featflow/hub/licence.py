"""What the weights may be used for: told once, and enforced where the caller asks for it."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from featflow.errors import CardError, LicenceError
from featflow.nodes._cards import CARD_NAME, Card, read_card

if TYPE_CHECKING:
    from featflow.flow.node import Node

_log = logging.getLogger("featflow.hub")


@cache
def tell_licence(node: str, licence: str, commercial_use: bool) -> None:
    """Log the licence of a node's weights, once in a process."""
    allowed = "allowed" if commercial_use else "not allowed, or not known to be"
    _log.warning("%s: weights under %s; commercial use is %s", node, licence, allowed)


def require_commercial(nodes: Iterable[Node]) -> None:
    """Let pass only nodes whose card says that commercial use is allowed.

    Raises:
        LicenceError: names every node that is not, with its licence.
    """
    refused = [told for node in nodes if (told := _objection(node))]
    if refused:
        raise LicenceError(
            f"commercial_ok=True, but commercial use is not known to be allowed for "
            f"{'; '.join(refused)}; choose other nodes"
        )


def card_beside(node: Node | type[Node]) -> Card:
    """Card in the folder of a node's code, registered or not.

    Raises:
        CardError: there is none, or it is malformed.
    """
    cls = node if inspect.isclass(node) else type(node)
    try:
        folder = Path(inspect.getfile(cls)).parent
    except (OSError, TypeError) as error:
        raise CardError(f"{cls.__name__} was not read from a file, so it has no card") from error
    return read_card(folder / CARD_NAME)


def _objection(node: Node) -> str:
    try:
        card = card_beside(node)
    except CardError:
        return f"{node.id} (no {CARD_NAME} says so)"
    return "" if card.commercial_use else f"{node.id} ({card.licence})"
