"""The ``landmark/pfld`` node."""

from featflow.nodes._published import LandmarkNode


class PFLDLandmarks(LandmarkNode):
    """68 points from a 112-pixel crop, the smallest of the three networks."""

    name = "pfld"
    requires = ("box",)
    layout = "pfld"
