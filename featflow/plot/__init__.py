"""Seeing results: figures and annotated clips."""
