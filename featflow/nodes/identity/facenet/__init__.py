"""``identity/facenet``: who it is, Inception-ResNet v1."""

from featflow.nodes.identity.facenet.node import FaceNetIdentity

NODE = FaceNetIdentity
