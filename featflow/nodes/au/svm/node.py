"""The ``au/svm`` node."""

from featflow.features.hog_classifiers import SVM_REGIONS
from featflow.nodes._hog import AUNode


class SVMActionUnits(AUNode):
    """20 action units as 0 or 1 from linear support vector machines."""

    name = "svm"
    regions = SVM_REGIONS
