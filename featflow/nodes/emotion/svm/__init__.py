"""``emotion/svm``: expressions from support vector machines."""

from featflow.nodes.emotion.svm.node import SVMEmotion

NODE = SVMEmotion
