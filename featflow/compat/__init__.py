"""Names of py-feat on featflow's engine: ``from featflow.compat import Detectorv1``."""

from featflow.compat.detectorv1 import Detectorv1

__all__ = ["Detectorv1"]
