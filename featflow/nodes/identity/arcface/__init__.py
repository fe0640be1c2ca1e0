"""``identity/arcface``: who it is, IR-50."""

from featflow.nodes.identity.arcface.node import ArcFaceIdentity

NODE = ArcFaceIdentity
