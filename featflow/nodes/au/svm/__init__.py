"""``au/svm``: action units from support vector machines."""

from featflow.nodes.au.svm.node import SVMActionUnits

NODE = SVMActionUnits
