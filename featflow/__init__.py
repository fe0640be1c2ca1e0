"""featflow: faces in photos and video as tables, and back again."""

__version__ = "0.1.0"
