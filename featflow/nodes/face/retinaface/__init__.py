"""``face/retinaface``: RetinaFace with a ResNet-34."""

from featflow.nodes.face.retinaface.node import RetinaFaceNode

NODE = RetinaFaceNode
