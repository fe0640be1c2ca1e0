"""Same person or not: ROC, ten-fold accuracy in the manner of LFW, and identification rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featflow.errors import OptionError
from featflow.evaluation.checks import finite
from featflow.identity.vectors import unit_rows

Floats = NDArray[np.floating[Any]]


def pair_similarity(one: ArrayLike, other: ArrayLike) -> NDArray[np.float64]:
    """Cosine similarity of N pairs of embeddings (N, D); NaN where one of them is unusable."""
    (a, good_a), (b, good_b) = unit_rows(one), unit_rows(other)
    if len(good_a) != len(good_b):
        raise OptionError(f"pairs need as many on both sides, got {len(good_a)} and {len(good_b)}")
    both = good_a & good_b
    cosine = np.full(len(both), np.nan)
    rows_a, rows_b = a[both[good_a]].astype(np.float64), b[both[good_b]].astype(np.float64)
    cosine[both] = (rows_a * rows_b).sum(1)
    return cosine


@dataclass(frozen=True, slots=True)
class Roc:
    """What is accepted at each threshold, from the strictest to the loosest.

    Attributes:
        thresholds: scores that occur, falling; the first is infinite.
        false_accept: part of the pairs of different people that reach the threshold.
        true_accept: part of the pairs of one person that reach it.
    """

    thresholds: NDArray[np.float64]
    false_accept: NDArray[np.float64]
    true_accept: NDArray[np.float64]

    @classmethod
    def of(cls, scores: ArrayLike, same: ArrayLike) -> Roc:
        """From scores (N,) and whether each pair is of one person (N,).

        Raises:
            OptionError: unlike lengths, missing scores, or pairs of one kind alone.
        """
        values, flags = _pairs(scores, same)
        order = np.argsort(-values, kind="stable")
        values, flags = values[order], flags[order]
        last = np.r_[np.flatnonzero(np.diff(values)), len(values) - 1]
        true = np.r_[0, np.cumsum(flags)[last]] / flags.sum()
        false = np.r_[0, np.cumsum(~flags)[last]] / (~flags).sum()
        return cls(np.r_[np.inf, values[last]], false, true)

    @property
    def auc(self) -> float:
        """Area under the curve: chance that a pair of one person scores above another pair."""
        steps = np.diff(self.false_accept)
        return float((steps * (self.true_accept[1:] + self.true_accept[:-1]) / 2).sum())

    def true_accept_at(self, false_accept: float) -> float:
        """Largest part of true pairs accepted with at most that part of false pairs.

        Nothing is interpolated: with few false pairs a small limit allows not one of them.
        """
        if not 0.0 <= false_accept <= 1.0:
            raise OptionError(f"false_accept must lie in 0..1, got {false_accept}")
        return float(self.true_accept[self.false_accept <= false_accept].max())


def _pairs(scores: ArrayLike, same: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    values, flags = finite(scores, "scores"), np.asarray(same)
    if values.ndim != 1 or flags.shape != values.shape or flags.dtype != np.bool_:
        raise OptionError(
            f"needs N scores and N truth values, got {values.shape} and {flags.dtype} {flags.shape}"
        )
    if flags.all() or not flags.any():
        raise OptionError("needs pairs of one person and pairs of different people")
    return values, flags


@dataclass(frozen=True, slots=True)
class Verification:
    """Ten-fold verification.

    Attributes:
        accuracy: mean over the folds.
        accuracy_std: standard deviation over the folds.
        thresholds: the threshold that each fold was judged with.
        auc: area under the ROC of all pairs.
        pairs: how many there were.
    """

    accuracy: float
    accuracy_std: float
    thresholds: NDArray[np.float64]
    auc: float
    pairs: int


def verify(scores: ArrayLike, same: ArrayLike, folds: ArrayLike | int = 10) -> Verification:
    """The protocol of Labeled Faces in the Wild (Huang et al. 2007).

    Each fold is judged with the threshold that is best on the others, so no pair is judged with
    a threshold that it had a part in.

    Args:
        scores: (N,) similarities; a pair is accepted where its score reaches the threshold.
        same: (N,) whether each pair is of one person.
        folds: (N,) fold of each pair, or how many runs of equal length the pairs are in.

    Raises:
        OptionError: unlike lengths, missing scores, or fewer than two folds.
    """
    values, flags = _pairs(scores, same)
    fold = _folds(folds, len(values))
    names = np.unique(fold)
    if len(names) < 2:
        raise OptionError(f"needs at least two folds, got {len(names)}")
    limits = np.array([best_threshold(values[fold != n], flags[fold != n]) for n in names])
    right = [
        ((values[fold == n] >= limit) == flags[fold == n]).mean()
        for n, limit in zip(names, limits, strict=True)
    ]
    auc = Roc.of(values, flags).auc
    return Verification(float(np.mean(right)), float(np.std(right)), limits, auc, len(values))


def _folds(folds: ArrayLike | int, count: int) -> NDArray[Any]:
    if isinstance(folds, int):
        return np.arange(count) * folds // count
    fold = np.asarray(folds)
    if fold.shape != (count,):
        raise OptionError(f"needs a fold for each of {count} pairs, got {fold.shape}")
    return fold


def best_threshold(scores: Floats, same: NDArray[np.bool_]) -> float:
    """The threshold of the highest accuracy: in the middle of a gap between two scores.

    Of equally good ones the highest.
    """
    order = np.argsort(-scores, kind="stable")
    values, flags = scores[order], same[order]
    accepted = np.r_[0, np.cumsum(np.where(flags, 1, -1))]
    ends = np.r_[0, np.flatnonzero(np.diff(values)) + 1, len(values)]
    cut = int(ends[accepted[ends].argmax()])
    above = values[cut - 1] if cut else values[0] + 2e-6
    below = values[cut] if cut < len(values) else values[-1] - 2e-6
    return float((above + below) / 2)


def rank_k(
    probes: ArrayLike,
    probe_names: ArrayLike,
    gallery: ArrayLike,
    gallery_names: ArrayLike,
    ks: tuple[int, ...] = (1, 5, 10, 20),
) -> dict[int, float]:
    """Closed-set identification: how often the right person is among the k most like.

    A person is as like as their most like picture in the gallery. Others who are equally like
    count as more like, so constant embeddings earn nothing.

    Args:
        probes: (P, D) embeddings, with ``probe_names`` (P,); an unusable one is never found.
        gallery: (G, D) embeddings, all usable, with ``gallery_names`` (G,).
        ks: ranks to report.

    Returns:
        k to part of the probes.

    Raises:
        OptionError: a probe's person is not in the gallery, or lengths differ.
    """
    known, usable = unit_rows(gallery)
    if not usable.all():
        raise OptionError(f"{int((~usable).sum())} embeddings of the gallery are unusable")
    people, person = np.unique(np.asarray(gallery_names), return_inverse=True)
    names = np.asarray(probe_names)
    faces, seen = unit_rows(probes)
    if len(person) != len(known) or names.shape != (len(seen),):
        raise OptionError("needs a name for each probe and for each embedding of the gallery")
    strangers = sorted({str(name) for name in names[~np.isin(names, people)]})
    if strangers:
        raise OptionError(f"not in the gallery: {', '.join(strangers[:5])}")
    order = np.argsort(person, kind="stable")
    starts = np.searchsorted(person[order], np.arange(len(people)))
    truth = np.searchsorted(people, names[seen])
    ranks = np.empty(len(faces), np.int64)
    for start in range(0, len(faces), 1024):
        rows = slice(start, start + 1024)
        table = np.maximum.reduceat(faces[rows] @ known[order].T, starts, axis=1)
        own = np.take_along_axis(table, truth[rows, None], 1)
        ranks[rows] = (table >= own).sum(1)  # itself included, so 1 is the best
    return {k: float((ranks <= k).sum() / max(1, len(names))) for k in ks}
