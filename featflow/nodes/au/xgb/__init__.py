"""``au/xgb``: action units from boosted trees."""

from featflow.nodes.au.xgb.node import XGBActionUnits

NODE = XGBActionUnits
