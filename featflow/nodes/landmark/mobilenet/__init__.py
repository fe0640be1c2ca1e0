"""``landmark/mobilenet``: 68 points, MobileNetV2."""

from featflow.nodes.landmark.mobilenet.node import MobileNetLandmarks

NODE = MobileNetLandmarks
