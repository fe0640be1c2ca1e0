"""``mask/custom``: a mask that is all inside or all outside, to be painted by hand."""

from featflow.nodes.mask.custom.node import CustomMask

NODE = CustomMask

__all__ = ["NODE", "CustomMask"]
