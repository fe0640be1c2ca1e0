"""``pose/mlp``: head rotation and position from 68 landmarks."""

from featflow.nodes.pose.mlp.node import PoseMLP

NODE = PoseMLP

__all__ = ["NODE", "PoseMLP"]
