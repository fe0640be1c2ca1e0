"""The ``identity/facenet`` node."""

from featflow.nodes._published import EmbeddingNode


class FaceNetIdentity(EmbeddingNode):
    """512 numbers of length 1 whose direction tells people apart."""

    name = "facenet"
    requires = ("box",)
    layout = "facenet"
