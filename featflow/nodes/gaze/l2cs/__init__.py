"""``gaze/l2cs``: direction of gaze."""

from featflow.nodes.gaze.l2cs.node import L2CSGaze

NODE = L2CSGaze
