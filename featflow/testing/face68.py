"""A mean face of 68 points, so that tests and demonstrations need no data."""

from featflow.geometry.mean_face import FACE68_CM

__all__ = ["FACE68_CM"]
