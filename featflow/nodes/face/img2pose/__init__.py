"""``face/img2pose``: faces found by their pose."""

from featflow.nodes.face.img2pose.node import Img2PoseNode

NODE = Img2PoseNode
