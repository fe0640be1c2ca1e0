"""``landmark/pfld``: 68 points, PFLD."""

from featflow.nodes.landmark.pfld.node import PFLDLandmarks

NODE = PFLDLandmarks
