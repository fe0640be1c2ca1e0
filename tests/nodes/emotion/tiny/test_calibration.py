import numpy as np
import pytest
from scipy.special import softmax

from featflow.evaluation.classes import calibration_error
from featflow.nodes.emotion.tiny.calibration import fit_calibration


def drawn(count, scale, shifts, seed=0):
    """Logits, and labels drawn from softmax(scale * logits + shifts)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (count, len(shifts)))
    chances = softmax(scale * logits + shifts, 1)
    labels = (chances.cumsum(1) > rng.random((count, 1))).argmax(1)
    return logits, labels


@pytest.mark.parametrize("scale", [0.4, 1.0, 2.0])
def test_the_scale_and_shifts_that_made_the_labels_are_found(scale):
    shifts = np.array([0.6, -0.2, -0.4])
    logits, labels = drawn(40000, scale, shifts)
    found, moved = fit_calibration(logits, labels)
    assert found == pytest.approx(scale, rel=0.03)
    assert moved - moved.mean() == pytest.approx(shifts, abs=0.06)
    before = calibration_error(softmax(logits, 1), labels)
    after = calibration_error(softmax(found * logits + moved, 1), labels)
    assert after < 0.012
    assert scale == 1 or before > 3 * after


def test_a_class_without_labels_hardly_moves():
    logits, labels = drawn(300, 1.0, np.zeros(4))
    keep = labels != 3
    _, moved = fit_calibration(logits[keep][:30] * 0.01, labels[keep][:30])
    assert -1.5 < moved[3] < 0


def test_the_optimum_is_where_scipy_without_slopes_finds_it():
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    logits, labels = drawn(200, 0.7, np.array([0.3, 0.0, -0.3]), seed=3)

    def cost(x):
        moved = np.exp(x[0]) * logits + x[1:]
        loss = -log_softmax(moved, 1)[np.arange(len(labels)), labels].sum()
        return loss + x[0] ** 2 / 2 + (x[1:] ** 2).sum() / (2 * 0.5**2)

    best = minimize(cost, np.zeros(4), method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9})
    found, moved = fit_calibration(logits, labels)
    assert np.log(found) == pytest.approx(best.x[0], abs=1e-3)
    assert moved == pytest.approx(best.x[1:], abs=2e-3)
