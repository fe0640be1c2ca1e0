"""``landmark/tiny``: 68 points from an aligned crop."""

from featflow.nodes.landmark.tiny.node import LandmarkTiny

NODE = LandmarkTiny
