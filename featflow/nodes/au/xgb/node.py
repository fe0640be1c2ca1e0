"""The ``au/xgb`` node."""

from featflow.features.hog_classifiers import XGB_REGIONS
from featflow.nodes._hog import AUNode


class XGBActionUnits(AUNode):
    """Probabilities of 20 action units from boosted trees."""

    name = "xgb"
    regions = XGB_REGIONS
