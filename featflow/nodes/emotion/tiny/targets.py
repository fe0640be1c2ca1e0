"""What the network is asked to say of each training picture, and how much the picture counts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.fex.schema import EMOTIONS

Floats = NDArray[np.floating[Any]]
Targets = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Probabilities (N, 7) and weights (N,)."""

TRUST_IN_LABEL = 0.7
"""Part of a labelled photograph's target that is the human label. The rest are the teachers, for
single labels are noisy: confident anger and surprise are sometimes labelled neutral."""

UNLABELLED_WEIGHT = 0.4
"""How much a photograph counts that teachers alone have judged."""


def vote_targets(votes: NDArray[np.integer[Any]]) -> Targets:
    """Of FER+ votes (N, 10), the seven expressions first.

    Votes for contempt, "unknown" and "not a face" are left out and the others brought back to
    sum 1; the picture counts by the part of its votes that is left, so one that most people
    called contempt counts little, and one that all did, nothing.
    """
    ours = votes[:, : len(EMOTIONS)].astype(np.float64)
    left = ours.sum(1)
    weight = left / np.maximum(votes.sum(1), 1)
    return ours / np.maximum(left, 1)[:, None], weight


def photo_targets(labels: NDArray[np.int64], plain: Floats, stacked: Floats) -> Targets:
    """Of photographs, from human labels (N,), -1 where unknown, and two teachers (N, 7).

    The stacked teacher was made class-balanced; it is brought to the share that each class has
    among the labels before the two teachers are averaged. A photograph without a label of ours
    takes the teachers' mean and counts less.
    """
    known = labels >= 0
    shares = class_shares(labels)
    moved = stacked * shares
    teachers = (plain + moved / moved.sum(1, keepdims=True)) / 2
    teachers /= teachers.sum(1, keepdims=True)
    human = np.eye(len(EMOTIONS))[labels]
    mixed = TRUST_IN_LABEL * human + (1 - TRUST_IN_LABEL) * teachers
    targets = np.where(known[:, None], mixed, teachers)
    return targets, np.where(known, 1.0, UNLABELLED_WEIGHT)


def class_shares(labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share (7,) of each class among the labels that are known; each counts one more than it is.

    The one more keeps a class that never occurs from a share of zero.
    """
    counts = np.bincount(labels[labels >= 0], minlength=len(EMOTIONS)) + 1.0
    return np.asarray(counts / counts.sum(), np.float64)
