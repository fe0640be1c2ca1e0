"""Weights that featflow does not ship: where they are looked for, and how they get here.

Looked for in this order: the path that the caller gives, the folder ``FEATFLOW_WEIGHTS``, the
cache in ``FEATFLOW_HOME``, and the Hugging Face hub. See ``docs/weights.md``.
"""

from featflow.hub.checkpoint import convert_checkpoint, read_checkpoint
from featflow.hub.licence import require_commercial
from featflow.hub.lookup import find, give_weights, obtain
from featflow.hub.places import cache_folder
from featflow.hub.transport import HubTransport, Transport, TransportError

__all__ = [
    "HubTransport",
    "Transport",
    "TransportError",
    "cache_folder",
    "convert_checkpoint",
    "find",
    "give_weights",
    "obtain",
    "read_checkpoint",
    "require_commercial",
]
