"""``gaze/tiny``: direction of gaze from two eye crops and the 68 landmarks."""

from featflow.nodes.gaze.tiny.node import GazeTiny

NODE = GazeTiny
