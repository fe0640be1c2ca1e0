"""Figures of a classifier: confusion, accuracy, recall, F1, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featflow.errors import OptionError
from featflow.evaluation.checks import finite

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often each class was taken for which.

    Attributes:
        classes: C names.
        counts: (C, C), rows are the truth and columns what was predicted.
    """

    classes: tuple[Any, ...]
    counts: Counts

    @classmethod
    def of(
        cls, truth: ArrayLike, predicted: ArrayLike, classes: Sequence[Any] | None = None
    ) -> Confusion:
        """Count pairs of labels.

        Args:
            truth, predicted: (N,) labels.
            classes: all classes in their order; those that occur, sorted, if None.

        Raises:
            OptionError: the lengths differ, there are none, or a label is not among the classes.
        """
        a, b = np.asarray(truth).ravel(), np.asarray(predicted).ravel()
        if a.shape != b.shape or not len(a):
            raise OptionError(f"needs as many labels as predictions, got {len(a)} and {len(b)}")
        names = tuple(np.unique(np.concatenate([a, b])).tolist() if classes is None else classes)
        code = {name: i for i, name in enumerate(names)}
        unknown = sorted({str(x) for x in [*a.tolist(), *b.tolist()] if x not in code})
        if unknown:
            raise OptionError(f"labels {', '.join(unknown)} are not among the classes {names}")
        rows, columns = ([code[x] for x in side.tolist()] for side in (a, b))
        cells = np.array(rows) * len(names) + np.array(columns)
        counts = np.bincount(cells, minlength=len(names) ** 2).astype(np.int64)
        return cls(names, counts.reshape(len(names), len(names)))

    @property
    def support(self) -> Counts:
        """(C,) faces of each class."""
        return np.asarray(self.counts.sum(1), np.int64)

    @property
    def accuracy(self) -> float:
        """Part that was right."""
        return float(np.trace(self.counts) / self.counts.sum())

    @property
    def recall(self) -> NDArray[np.float64]:
        """(C,) part of each class that was found; NaN for a class without faces."""
        return _ratio(np.diag(self.counts), self.support)

    @property
    def precision(self) -> NDArray[np.float64]:
        """(C,) part of what was called so that is so; NaN for a class never predicted."""
        return _ratio(np.diag(self.counts), self.counts.sum(0))

    @property
    def f1(self) -> NDArray[np.float64]:
        """(C,) F1; NaN for a class that neither occurs nor is predicted."""
        return _ratio(2 * np.diag(self.counts), self.support + self.counts.sum(0))

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the classes that occur or are predicted."""
        return float(np.nanmean(self.f1))

    def balanced_accuracy(self, min_support: int = 1) -> float:
        """Mean recall of the classes with at least ``min_support`` faces; NaN without any."""
        recall = self.recall[self.support >= max(1, min_support)]
        return float(recall.mean()) if len(recall) else float("nan")


def _ratio(part: ArrayLike, whole: ArrayLike) -> NDArray[np.float64]:
    a, b = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(a, b, out=np.full_like(a, np.nan), where=b > 0)


def calibration_error(probabilities: ArrayLike, truth: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error of the most likely class (Guo et al. 2017).

    Confidences fall in bins of equal width, closed on the right; the error is the mean distance
    of confidence and accuracy in a bin, weighted with the faces in it.

    Args:
        probabilities: (N, C).
        truth: (N,) index of the true class.
        bins: how many.

    Raises:
        OptionError: unlike lengths, missing values, no rows, or less than one bin.
    """
    table, true = finite(probabilities, "probabilities"), np.asarray(truth)
    if table.ndim != 2 or true.shape != (len(table),) or not len(table) or bins < 1:
        raise OptionError(
            f"needs probabilities (N, C), N true classes and a bin, got {table.shape}, "
            f"{true.shape} and {bins}"
        )
    confidence, right = table.max(1), table.argmax(1) == true
    place = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence)
    sums = np.bincount(place, confidence - right, minlength=bins)
    return float(np.abs(sums).sum() / len(table))
