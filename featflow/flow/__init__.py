"""Batches, nodes and the engine that runs them."""
