import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from featflow.evaluation.classes import calibration_error
from featflow.nodes.emotion.tiny.calibration import WIDEST, fit_scale


def drawn(count, classes, scale, seed=0):
    """Logits, and labels drawn from softmax(scale * logits)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (count, classes))
    chances = softmax(scale * logits, 1)
    return logits, (chances.cumsum(1) > rng.random((count, 1))).argmax(1)


@pytest.mark.parametrize("scale", [0.4, 1.0, 2.0])
def test_the_scale_that_made_the_labels_is_found(scale):
    logits, labels = drawn(40000, 3, scale)
    found = fit_scale(logits, labels)
    assert found == pytest.approx(scale, rel=0.03)
    before = calibration_error(softmax(logits, 1), labels)
    after = calibration_error(softmax(found * logits, 1), labels)
    assert after < 0.012
    assert scale == 1 or before > 3 * after


def test_of_two_classes_it_is_the_slope_of_logistic_regression():
    logits, labels = drawn(500, 2, 0.7)
    difference = logits[:, 1:] - logits[:, :1]
    slope = LogisticRegression(C=1e9, fit_intercept=False, tol=1e-9).fit(difference, labels).coef_
    assert fit_scale(logits, labels) == pytest.approx(slope.item(), rel=1e-3)


def test_labels_that_are_always_right_give_a_finite_scale():
    logits = np.eye(4) * 3
    # The larger the better, until the cost is 0 to the last bit.
    assert WIDEST / 2 < fit_scale(logits, np.arange(4)) <= WIDEST
    assert fit_scale(logits, (np.arange(4) + 1) % 4) == pytest.approx(1 / WIDEST, rel=0.1)
