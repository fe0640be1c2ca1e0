"""Hierarchical clustering of embeddings: clusters at a threshold, and an order to look through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featflow.errors import OptionError
from featflow.identity.vectors import ROUNDING, check_threshold, unit_rows

LinkageMethod = Literal["single", "centroid", "median", "ward"]
LINKAGE_METHODS: tuple[LinkageMethod, ...] = get_args(LinkageMethod)

_MOST_BYTES = 4 << 30


def euclidean(threshold: float) -> float:
    """Distance of two unit vectors whose cosine similarity is ``threshold``."""
    return float(np.sqrt(max(0.0, 2.0 - 2.0 * threshold)))


def tree(unit: NDArray[np.float32], method: LinkageMethod) -> NDArray[np.float64]:
    """Merges of unit vectors by Euclidean distance, as ``scipy.cluster.hierarchy.linkage``.

    Raises:
        OptionError: the method is unknown, or the table of distances would be too large.
    """
    from scipy.cluster.hierarchy import linkage

    if method not in LINKAGE_METHODS:
        known = ", ".join(LINKAGE_METHODS)
        raise OptionError(f"unknown linkage method {method!r}; known methods: {known}")
    needed = 2 * 8 * len(unit) * (len(unit) - 1) // 2
    if needed > _MOST_BYTES:
        raise OptionError(
            f"{method} linkage of {len(unit)} faces needs {needed / 1e9:.1f} GB for distances; "
            "use method 'gallery' or 'connected' (the same as 'single'), or fewer faces"
        )
    return np.asarray(linkage(unit.astype(np.float64), method), np.float64)


def linkage_clusters(
    unit: NDArray[np.float32], threshold: float, method: LinkageMethod
) -> NDArray[np.int64]:
    """Clusters whose merges all lie at the distance of a cosine similarity or below.

    Args:
        unit: (N, D) unit vectors.
        threshold: cosine similarity; the tree is cut at distance sqrt(2 - 2 threshold).
        method: ``single`` joins by the nearest two faces, ``centroid`` and ``median`` by the
            centres, ``ward`` by the growth of the variance. Ward's tree is cut by the distance
            of the centres too: its own heights grow with the sizes of the groups.

    Returns:
        (N,) clusters, in no special order.
    """
    from scipy.cluster.hierarchy import fcluster

    if len(unit) < 2:
        return np.zeros(len(unit), np.int64)
    cut = euclidean(check_threshold(threshold) - ROUNDING)
    merges = tree(unit, method)
    if method == "ward":
        merges[:, 2] /= _ward_factor(merges)
    return np.asarray(fcluster(merges, cut, "distance"), np.int64)


def _ward_factor(merges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Height of each of Ward's merges, in distances of the two centres (Ward 1963)."""
    sizes = np.r_[np.ones(len(merges) + 1), merges[:, 3]]
    a, b = sizes[merges[:, :2].astype(np.int64)].T
    return np.asarray(np.sqrt(2 * a * b / (a + b)))


@dataclass(frozen=True, slots=True)
class Seriation:
    """Faces in an order in which like faces stand beside each other.

    Attributes:
        order: (M,) rows of the usable embeddings, in the order of the tree's leaves.
        bins: (M,) bin of each of them, rising from 0 along the order.
    """

    order: NDArray[np.int64]
    bins: NDArray[np.int64]


def seriate(
    embeddings: ArrayLike, method: LinkageMethod = "ward", bin_threshold: float | None = None
) -> Seriation:
    """Sort faces by likeness, to look through them or to put them in folders.

    Args:
        embeddings: (N, D) numbers; unusable rows (not finite, or of length 0) are left out.
        method: how clusters are joined.
        bin_threshold: 0..1. A merge at this part of the tree's full height, or higher, starts
            a new bin. No bins (all 0) if None.

    Raises:
        OptionError: an unknown method, a threshold out of range, or too many faces.
    """
    from scipy.cluster.hierarchy import fcluster, leaves_list

    if bin_threshold is not None and not 0.0 <= bin_threshold <= 1.0:
        raise OptionError(f"bin_threshold is a part of the height in 0..1, got {bin_threshold}")
    unit, usable = unit_rows(embeddings)
    rows = np.flatnonzero(usable)
    if len(rows) < 2:
        return Seriation(rows, np.zeros(len(rows), np.int64))
    merges = tree(unit, method)
    leaves = np.asarray(leaves_list(merges), np.int64)
    bins = np.zeros(len(rows), np.int64)
    if bin_threshold is not None:
        # fcluster keeps merges at the cut itself; here they start a bin.
        cut = np.nextafter(bin_threshold * merges[:, 2].max(), -np.inf)
        clusters = fcluster(merges, cut, "distance")[leaves] if cut >= 0 else leaves
        bins = np.r_[0, np.cumsum(clusters[1:] != clusters[:-1])]
    return Seriation(rows[leaves], bins)
