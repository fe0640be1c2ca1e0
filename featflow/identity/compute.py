"""Labels for faces: who is the same person, and how sure that is."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args, overload

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from featflow.errors import OptionError
from featflow.fex.table import Fex
from featflow.identity.connected import connected_components
from featflow.identity.density import density_clusters
from featflow.identity.labels import UNKNOWN, place, set_labels
from featflow.identity.linkage import LINKAGE_METHODS, LinkageMethod, linkage_clusters
from featflow.identity.online import Gallery
from featflow.identity.order import appearance_order, by_appearance
from featflow.identity.tracking import tracks_of, vote_or_unknown
from featflow.identity.vectors import (
    DEFAULT_THRESHOLD,
    Floats,
    centre_sums,
    check_threshold,
    embeddings_of,
    nearest,
    unit_rows,
)

Method = Literal["gallery", "hdbscan", "connected", "single", "centroid", "median", "ward"]
METHODS: tuple[Method, ...] = get_args(Method)

Rows = NDArray[np.int64]


class Identities(NamedTuple):
    """Who is who among embeddings.

    Attributes:
        labels: (N,) ``Person_1``, ``Person_2``, ... in order of first appearance, ``Unknown``,
            or NaN where the embedding is unusable.
        scores: (N,) float32, 0..1, see :func:`compute_identities`.
    """

    labels: NDArray[np.object_]
    scores: NDArray[np.float32]


@overload
def compute_identities(
    faces: pd.DataFrame,
    threshold: float = ...,
    method: Method = ...,
    *,
    min_cluster_size: int = ...,
    track: bool | None = ...,
) -> Fex: ...


@overload
def compute_identities(
    faces: NDArray[Any] | list[Any],
    threshold: float = ...,
    method: Method = ...,
    *,
    min_cluster_size: int = ...,
    track: None = ...,
) -> Identities: ...


def compute_identities(
    faces: pd.DataFrame | ArrayLike,
    threshold: float = DEFAULT_THRESHOLD,
    method: Method = "gallery",
    *,
    min_cluster_size: int = 2,
    track: bool | None = None,
) -> Fex | Identities:
    """Find which faces are the same person.

    Args:
        faces: a table with ``Identity_1..D``, whose rows may stand in any order; or embeddings
            (N, D), whose order is that of time.
        threshold: cosine similarity at which two faces (a face and a centre, two centres)
            are the same person; equality counts.
        method: ``gallery``: one pass, joins the person of the most like centre.
            ``connected``: chains of faces that are alike. ``hdbscan``: dense clusters, and
            ``Unknown`` for faces in none. ``single``, ``centroid``, ``median``, ``ward``: a
            tree of merges, cut at the distance sqrt(2 - 2 threshold).
        min_cluster_size: fewest faces of a person, for ``hdbscan`` alone.
        track: follow faces from frame to frame and let each track vote for one label. If None,
            where the table has ``frame`` and boxes.

    Returns:
        For a table a new one, with the same rows and ``Identity`` and ``IdentityScore``; for
        embeddings :class:`Identities`. The score is the cosine similarity of a face with the
        centre of the *other* faces of its person, at least 0; for ``Unknown`` that with the
        nearest person. It is NaN for a person who was seen once: there is nothing to compare.

    Raises:
        OptionError: an unknown method, a value out of range, or too many faces for it.
        AbsentGroupError: the table has no embeddings.
    """
    _check(threshold, method, min_cluster_size)
    if not isinstance(faces, pd.DataFrame):
        if track is not None:
            raise OptionError("track needs a table of faces, not embeddings")
        return _identities(unit_rows(faces), threshold, method, min_cluster_size, None)
    vectors = embeddings_of(faces)
    order = appearance_order(faces, vectors)
    tracks = tracks_of(faces, track)
    tracks = tracks if tracks is None else tracks[order]
    usable = unit_rows(vectors[order])
    del vectors
    in_order = _identities(usable, threshold, method, min_cluster_size, tracks)
    step = {"threshold": float(threshold), "method": method, "track": tracks is not None}
    if method == "hdbscan":
        step["min_cluster_size"] = min_cluster_size
    labels, scores = (place(values, order) for values in in_order)
    return set_labels(faces, labels, scores).with_step("compute_identities", **step)


def _check(threshold: float, method: str, min_cluster_size: int) -> None:
    check_threshold(threshold)
    if method not in METHODS:
        raise OptionError(f"unknown method {method!r}; known methods: {', '.join(METHODS)}")
    if min_cluster_size < 2:
        raise OptionError(f"min_cluster_size must be at least 2, got {min_cluster_size}")


def _identities(
    vectors: tuple[NDArray[np.float32], NDArray[np.bool_]],
    threshold: float,
    method: Method,
    min_cluster_size: int,
    tracks: Rows | None,
) -> Identities:
    unit, usable = vectors
    codes = _cluster(unit, threshold, method, min_cluster_size)
    if tracks is not None:
        codes = vote_or_unknown(codes, tracks[usable])
    codes = by_appearance(codes)
    names = np.array([f"Person_{i + 1}" for i in range(codes.max(initial=-1) + 1)], object)
    labels = np.full(len(usable), np.nan, object)
    labels[usable] = np.where(codes < 0, UNKNOWN, names[codes]) if len(names) else UNKNOWN
    scores = np.full(len(usable), np.nan, np.float32)
    scores[usable] = support(unit, codes)
    return Identities(labels, scores)


def _cluster(
    unit: NDArray[np.float32], threshold: float, method: Method, min_cluster_size: int
) -> Rows:
    if method == "gallery":
        return Gallery(threshold).add_unit(unit)
    if method == "connected":
        return connected_components(unit, threshold)
    if method == "hdbscan":
        return density_clusters(unit, threshold, min_cluster_size)
    linkage: LinkageMethod = LINKAGE_METHODS[LINKAGE_METHODS.index(method)]
    return linkage_clusters(unit, threshold, linkage)


def support(unit: NDArray[np.float32], codes: Rows) -> NDArray[np.float32]:
    """How like each face is to the rest of its cluster, 0..1.

    Args:
        unit: (N, D) unit vectors.
        codes: (N,) clusters from 0; -1 for faces in none, which get their largest cosine with
            a cluster's centre.

    Returns:
        (N,) cosine with the centre of the other faces; NaN for a face alone.
    """
    count = int(codes.max(initial=-1)) + 1
    sums = centre_sums(unit, codes, count)
    scores = np.full(len(unit), np.nan, np.float32)
    for start in range(0, len(unit), 8192):
        rows = slice(start, start + 8192)
        known = codes[rows] >= 0
        scores[rows][known] = _without_itself(unit[rows][known], sums[codes[rows][known]])
    lone = np.bincount(codes[codes >= 0], minlength=count) == 1
    scores[codes >= 0] = np.where(lone[codes[codes >= 0]], np.nan, scores[codes >= 0])
    if count and (codes < 0).any():
        length = np.linalg.norm(sums, axis=1, keepdims=True)
        scores[codes < 0] = nearest(unit[codes < 0], sums / np.maximum(length, 1e-12))[1]
    return np.clip(scores, 0.0, 1.0)


def _without_itself(unit: Floats, sums: Floats) -> Floats:
    others = sums - unit
    length = np.linalg.norm(others, axis=1)
    return np.asarray((unit * others).sum(1) / np.maximum(length, 1e-12))
