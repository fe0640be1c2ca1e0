"""The model nodes that ship with featflow, one folder a node."""
