"""Data sets of the field, read from a folder that the user has: see the catalogue ``datasets/``."""

from featflow.datasets.benchmarks.registry import (
    BENCHMARKS,
    ROOT_VARIABLE,
    Benchmark,
    benchmark,
    load_benchmark,
)
from featflow.datasets.benchmarks.sets import AnySet, BoxSet, FaceSet, PairSet

__all__ = [
    "BENCHMARKS",
    "ROOT_VARIABLE",
    "AnySet",
    "Benchmark",
    "BoxSet",
    "FaceSet",
    "PairSet",
    "benchmark",
    "load_benchmark",
]
