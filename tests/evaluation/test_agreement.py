"""ICC, CCC and F1 of action units."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn.metrics import f1_score

from featflow.errors import OptionError
from featflow.evaluation.agreement import au_f1, au_icc, ccc, icc_3_1

NAN = float("nan")

# Table 2 of Shrout and Fleiss 1979: 6 targets, 4 judges; the paper gives ICC(3,1) = .71.
SHROUT_FLEISS = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
)
ratings = arrays(np.float64, (7, 3), elements=st.floats(-5, 5).map(lambda v: round(v, 2)))


def test_icc_of_the_paper():
    assert icc_3_1(SHROUT_FLEISS) == pytest.approx(0.7148, abs=5e-5)


def anova_icc(table):
    """From the sums of squares of the two-way table, written out."""
    n, k = table.shape
    mean = table.mean()
    rows = k * sum((row.mean() - mean) ** 2 for row in table)
    columns = n * sum((column.mean() - mean) ** 2 for column in table.T)
    error = sum((v - mean) ** 2 for v in table.ravel()) - rows - columns
    msr, mse = rows / (n - 1), error / ((n - 1) * (k - 1))
    return (msr - mse) / (msr + (k - 1) * mse)


@settings(deadline=None)
@given(ratings)
def test_icc_against_an_analysis_of_variance(table):
    if np.ptp(table - table.mean(0)) > 0.1:
        assert icc_3_1(table) == pytest.approx(anova_icc(table), abs=1e-9)


def test_icc_of_two_raters_in_closed_form():
    a, b = np.random.default_rng(0).standard_normal((2, 50))
    c = np.cov(a, b)
    assert icc_3_1(np.stack([a, b], 1)) == pytest.approx(2 * c[0, 1] / (c[0, 0] + c[1, 1]))


def test_icc_forgives_a_shift_and_not_a_scale():
    a = np.arange(9.0)
    assert icc_3_1(np.stack([a, a + 3], 1)) == pytest.approx(1)
    assert icc_3_1(np.stack([a, 2 * a], 1)) == pytest.approx(0.8)
    assert icc_3_1(np.stack([a, -a], 1)) == pytest.approx(-1)


def test_icc_without_an_answer():
    assert np.isnan(icc_3_1([[1.0, 2.0]]))
    assert np.isnan(icc_3_1([[1.0, 1.0], [1.0, 1.0]]))
    with_gap = np.vstack([SHROUT_FLEISS, [[NAN, 1, 2, 3]]])
    assert icc_3_1(with_gap) == icc_3_1(SHROUT_FLEISS)
    with pytest.raises(OptionError, match="2 or more"):
        icc_3_1([[1.0], [2.0]])


@settings(deadline=None)
@given(ratings)
def test_ccc_is_correlation_times_bias(table):
    """Lin's factors: Pearson's r by scipy, times how far the two scales and means agree."""
    a, b = table[:, 0], table[:, 1]
    if a.std() > 0.1 and b.std() > 0.1:
        spread = a.std() / b.std()
        shift = (a.mean() - b.mean()) / np.sqrt(a.std() * b.std())
        bias = 2 / (spread + 1 / spread + shift**2)
        assert ccc(a, b) == pytest.approx(stats.pearsonr(a, b).statistic * bias, abs=1e-9)


def test_ccc_by_hand_and_at_its_edges():
    assert ccc([1, 2, 3], [2, 3, 4]) == pytest.approx(2 * (2 / 3) / (4 / 3 + 1))
    assert ccc([1, 2, NAN, 3], [2, 3, 5, 4]) == ccc([1, 2, 3], [2, 3, 4])
    assert ccc([1, 1], [2, 2]) == 0
    assert np.isnan(ccc([1, 1], [1, 1]))
    assert np.isnan(ccc([1], [1]))
    with pytest.raises(OptionError, match="one shape"):
        ccc([1, 2], [1, 2, 3])


def test_au_f1_against_scikit_learn():
    draw = np.random.default_rng(0)
    truth, predicted = draw.integers(0, 6, (200, 5)), draw.random((200, 5))
    expected = [f1_score(truth[:, i] >= 2, predicted[:, i] >= 0.5) for i in range(5)]
    np.testing.assert_allclose(au_f1(truth, predicted), expected)
    strict = [f1_score(truth[:, i] >= 4, predicted[:, i] >= 0.2) for i in range(5)]
    np.testing.assert_allclose(au_f1(truth, predicted, present_from=4, predicted_from=0.2), strict)


def test_au_limits_are_inclusive():
    assert au_f1([[2.0], [1.0]], [[0.5], [0.49]]).tolist() == [1.0]
    assert au_f1([[1.0], [1.0]], [[0.5], [0.49]]).tolist() == [0.0]


def test_a_unit_without_prediction_has_no_figure():
    truth = np.array([[2.0, 0.0, 0.0], [3.0, 0.0, 5.0], [0.0, 0.0, 1.0]])
    predicted = np.array([[NAN, 0.1, 0.9], [NAN, 0.2, NAN], [NAN, 0.0, 0.2]])
    assert np.isnan(au_f1(truth, predicted)[:2]).all()
    assert au_f1(truth, predicted)[2] == 0
    assert np.isnan(au_icc(truth, predicted)[0])


def test_au_icc_brings_predictions_to_the_human_scale():
    truth = np.random.default_rng(0).integers(0, 6, (40, 2)).astype(float)
    np.testing.assert_allclose(au_icc(truth, truth / 5), 1)
    pair = np.stack([truth[:, 0], truth[:, 0]], 1)
    assert au_icc(truth, truth / 10)[0] == pytest.approx(icc_3_1(pair * [1, 0.5]))
    with pytest.raises(OptionError, match="faces, units"):
        au_icc([1, 2], [1, 2])
