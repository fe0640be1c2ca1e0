"""The nodes that ship with featflow, and the registry through which all nodes are found."""

from featflow.nodes._cards import Card
from featflow.nodes.networks import network, network_names
from featflow.nodes.registry import available, card_of, get_node_class, make_node

__all__ = [
    "Card",
    "available",
    "card_of",
    "get_node_class",
    "make_node",
    "network",
    "network_names",
]
