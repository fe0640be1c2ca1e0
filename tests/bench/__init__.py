"""Benchmarks: ``python -m tests.bench.<name>``. They report and never fail."""
