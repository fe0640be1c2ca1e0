"""``face/tiny``: a one-stage detector for faces from 16 pixels to the whole frame."""

from featflow.nodes.face.tiny.node import FaceTiny

NODE = FaceTiny
