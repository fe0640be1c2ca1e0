"""``landmark/mobilefacenet``: 68 points, MobileFaceNet."""

from featflow.nodes.landmark.mobilefacenet.node import MobileFaceNetLandmarks

NODE = MobileFaceNetLandmarks
