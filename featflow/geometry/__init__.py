"""Boxes, transforms, crops, rotations: plain array functions in continuous original pixels."""
