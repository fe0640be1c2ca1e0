"""``mask/tiny``: the visible face without hair."""

from featflow.nodes.mask.tiny.node import MaskTiny

NODE = MaskTiny
