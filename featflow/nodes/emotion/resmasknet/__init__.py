"""``emotion/resmasknet``: seven expressions."""

from featflow.nodes.emotion.resmasknet.node import ResMaskNetEmotion

NODE = ResMaskNetEmotion
