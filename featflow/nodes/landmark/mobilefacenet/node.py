"""The ``landmark/mobilefacenet`` node."""

from featflow.nodes._published import LandmarkNode


class MobileFaceNetLandmarks(LandmarkNode):
    """68 points from a 112-pixel crop."""

    name = "mobilefacenet"
    requires = ("box",)
    layout = "mobilefacenet"
