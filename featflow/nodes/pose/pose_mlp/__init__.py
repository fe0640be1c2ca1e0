"""``pose/pose_mlp``: head angles from 68 landmarks."""

from featflow.nodes.pose.pose_mlp.node import PublishedPoseMLP

NODE = PublishedPoseMLP
