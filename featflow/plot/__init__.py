"""Seeing what was found: matplotlib plots, drawings into pictures, annotated clips."""

from featflow.plot.clips import annotate
from featflow.plot.detections import plot_detections
from featflow.plot.draw import draw_faces
from featflow.plot.shapes import pose_axes

__all__ = ["annotate", "draw_faces", "plot_detections", "pose_axes"]
