"""HDBSCAN on unit vectors (Campello, Moulavi and Sander 2013), by scikit-learn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from featflow.identity.linkage import euclidean
from featflow.identity.vectors import ROUNDING

Rows = NDArray[np.int64]


def density_clusters(unit: NDArray[np.float32], threshold: float, min_cluster_size: int) -> Rows:
    """Dense clusters, of which those that are nearer than the threshold are one.

    This is HDBSCAN with a ``cluster_selection_epsilon`` (Malzer and Baum 2020) of
    sqrt(2 - 2 threshold). Time grows with the square of the number of faces.

    scikit-learn's own epsilon is not used: with NumPy 2.4 it raises a TypeError, and it never
    answers that all faces are one person. Its two clusterings, by density and at a fixed
    distance, are joined here instead.

    Args:
        unit: (N, D) unit vectors.
        threshold: cosine similarity.
        min_cluster_size: fewest faces of a cluster, at least 2.

    Returns:
        (N,) clusters from 0, and -1 for faces that belong to none.
    """
    from sklearn.cluster import HDBSCAN

    if len(unit) < min_cluster_size:
        return np.full(len(unit), -1, np.int64)
    model = HDBSCAN(min_cluster_size=min_cluster_size, copy=True).fit(unit.astype(np.float64))
    by_density = np.asarray(model.labels_, np.int64)
    cut = euclidean(threshold - ROUNDING)
    at_cut = np.asarray(model.dbscan_clustering(cut, min_cluster_size), np.int64)
    return _merge(by_density, at_cut)


def _merge(by_density: Rows, at_cut: Rows) -> Rows:
    """Clusters by density where they reach beyond one cluster at the cut, else the latter.

    Both come from one tree, so of two clusters that meet one contains the other.
    """
    merged = at_cut.copy()
    for cluster in range(by_density.max(initial=-1) + 1):
        inside = by_density == cluster
        parts = np.unique(at_cut[inside])
        if len(parts) > 1 or parts[0] < 0:
            merged[inside] = at_cut.max(initial=-1) + 1 + cluster
    return merged
