"""``identity/tiny``: who it is."""

from featflow.nodes.identity.tiny.node import IdentityTiny

NODE = IdentityTiny
