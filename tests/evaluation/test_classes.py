"""Confusion, recall, F1 and calibration against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.calibration import calibration_curve

from featflow.errors import OptionError
from featflow.evaluation.classes import Confusion, calibration_error

labels = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), min_size=1)


@settings(deadline=None)
@given(labels)
@pytest.mark.filterwarnings("ignore:y_pred contains classes")
@pytest.mark.filterwarnings("ignore:A single label was found")
def test_figures_against_scikit_learn(pairs):
    truth, predicted = (list(side) for side in zip(*pairs, strict=True))
    ours = Confusion.of(truth, predicted)
    np.testing.assert_array_equal(
        ours.counts, metrics.confusion_matrix(truth, predicted, labels=list(ours.classes))
    )
    assert ours.accuracy == pytest.approx(metrics.accuracy_score(truth, predicted))
    assert ours.balanced_accuracy() == pytest.approx(
        metrics.balanced_accuracy_score(truth, predicted)
    )
    assert ours.macro_f1 == pytest.approx(
        metrics.f1_score(truth, predicted, average="macro", zero_division=0)
    )
    for name, kind in (("recall", metrics.recall_score), ("precision", metrics.precision_score)):
        theirs = kind(
            truth, predicted, labels=list(ours.classes), average=None, zero_division=np.nan
        )
        np.testing.assert_allclose(getattr(ours, name), theirs)


def test_rows_are_the_truth():
    counts = Confusion.of(["a", "a", "b"], ["a", "b", "b"], classes=("b", "a", "c")).counts
    assert counts.tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]


def test_rare_classes_can_be_left_out_of_the_balance():
    found = Confusion.of(["a"] * 10 + ["b"] * 2, ["a"] * 9 + ["b"] * 1 + ["a"] * 2)
    assert found.balanced_accuracy() == pytest.approx((0.9 + 0.0) / 2)
    assert found.balanced_accuracy(min_support=3) == pytest.approx(0.9)
    assert np.isnan(found.balanced_accuracy(min_support=99))


def test_classes_that_never_occur_are_missing_not_zero():
    found = Confusion.of(["a"], ["a"], classes=("a", "b"))
    assert np.isnan(found.recall[1])
    assert found.macro_f1 == 1


def test_labels_are_checked():
    with pytest.raises(OptionError, match="labels c are not among"):
        Confusion.of(["a"], ["c"], classes=("a", "b"))
    for a, b in ((["a"], []), ([], [])):
        with pytest.raises(OptionError, match="as many labels"):
            Confusion.of(a, b)


def by_scikit_learn(probabilities, truth, bins):
    """Bins of scikit-learn's calibration curve, weighted with numpy's histogram."""
    confidence = probabilities.max(1)
    right = (probabilities.argmax(1) == truth).astype(int)
    true, said = calibration_curve(right, confidence, n_bins=bins)
    where = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence)
    weights = np.unique(where, return_counts=True)[1] / len(truth)
    return float((weights * np.abs(true - said)).sum())


@pytest.mark.parametrize("bins", [5, 10, 15])
@pytest.mark.parametrize("seed", range(4))
def test_calibration_against_scikit_learn(bins, seed):
    draw = np.random.default_rng(seed)
    probabilities = draw.dirichlet(np.full(7, 0.4), 300)
    truth = np.array([draw.choice(7, p=row) for row in probabilities])
    expected = by_scikit_learn(probabilities, truth, bins)
    assert calibration_error(probabilities, truth, bins) == pytest.approx(expected)


def test_calibration_by_hand():
    sure = np.array([[0.9, 0.1]] * 10)
    assert calibration_error(sure, np.array([0] * 9 + [1])) == pytest.approx(0, abs=1e-12)
    assert calibration_error(sure, np.array([1] * 10)) == pytest.approx(0.9)
    assert calibration_error([[1.0, 0.0]], [0]) == 0


def test_calibration_is_checked():
    with pytest.raises(OptionError, match="1 of 4 probabilities are missing"):
        calibration_error([[0.5, 0.5], [np.nan, 0.5]], [0, 1])
    for bad in ((np.ones((2, 2)), [0]), (np.ones((0, 2)), []), (np.ones(2), [0, 1])):
        with pytest.raises(OptionError, match="needs probabilities"):
            calibration_error(*bad)
