"""The ``identity/arcface`` node."""

from featflow.nodes._published import EmbeddingNode


class ArcFaceIdentity(EmbeddingNode):
    """512 numbers whose direction tells people apart; their length does not, and is kept."""

    name = "arcface"
    requires = ("box", "points5")
    layout = "arcface_r50"
