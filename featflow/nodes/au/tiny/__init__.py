"""``au/tiny``: 20 action units from an aligned crop and 68 landmarks."""

from featflow.nodes.au.tiny.node import ActionUnitsTiny

NODE = ActionUnitsTiny
