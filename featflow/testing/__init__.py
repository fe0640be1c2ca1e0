"""Tools for people who write nodes."""

from featflow.testing.check_node import ConformanceError, Report, check_node

__all__ = ["ConformanceError", "Report", "check_node"]
