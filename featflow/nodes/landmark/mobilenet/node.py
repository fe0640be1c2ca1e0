"""The ``landmark/mobilenet`` node."""

from featflow.nodes._published import LandmarkNode


class MobileNetLandmarks(LandmarkNode):
    """68 points from a 224-pixel crop."""

    name = "mobilenet"
    requires = ("box",)
    layout = "mobilenet_gdconv"
