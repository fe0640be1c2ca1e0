"""The ``emotion/svm`` node."""

from types import MappingProxyType

from featflow.features.hog_classifiers import EMOTION_COLUMNS, EMOTION_REGIONS
from featflow.nodes._hog import HogNode


class SVMEmotion(HogNode):
    """Seven expressions as 0 or 1 from linear support vector machines; each decides alone."""

    kind, name = "emotion", "svm"
    provides = ("emotions",)
    shapes = MappingProxyType({"emotions": (len(EMOTION_COLUMNS),)})
    columns = EMOTION_COLUMNS
    regions = EMOTION_REGIONS
