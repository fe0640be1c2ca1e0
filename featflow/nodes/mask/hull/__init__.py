"""``mask/hull``: masks of the face and its parts from 68 landmarks."""

from featflow.nodes.mask.hull.node import HullMask

NODE = HullMask

__all__ = ["NODE", "HullMask"]
