"""Measuring nodes on labelled faces."""
