"""``emotion/tiny``: seven expressions from an aligned grey crop."""

from featflow.nodes.emotion.tiny.node import EmotionTiny

NODE = EmotionTiny
