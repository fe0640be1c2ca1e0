"""Scaling, components, margins and calibration against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.isotonic import IsotonicRegression
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from featflow.errors import ArrayError, WeightsError
from featflow.features.classical import Calibration, LinearClassifier, Projection


def data(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features of very different spread, one of them constant, and a label."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(80, 12)) * 10.0 ** rng.integers(-3, 3, 12) + 5
    x[:, 3] = 2.0
    return x, (x[:, 0] > 5).astype(int)


def test_projection_equals_scaler_and_pca() -> None:
    x, _ = data()
    scaler = StandardScaler().fit(x)
    pca = PCA(5, random_state=0).fit(scaler.transform(x) + 0.3)
    projection = Projection(scaler.mean_, scaler.scale_, pca.mean_, pca.components_)
    fresh, _ = data(1)
    expected = pca.transform(scaler.transform(fresh))
    np.testing.assert_allclose(projection(fresh), expected, rtol=1e-9, atol=1e-9)


def test_linear_classifier_equals_linear_svc() -> None:
    x, y = data()
    x = StandardScaler().fit_transform(x)
    trained = LinearSVC(random_state=0).fit(x, y)
    machine = LinearClassifier(trained.coef_[0], np.asarray(trained.intercept_[0]))
    np.testing.assert_allclose(machine.margin(x), trained.decision_function(x), atol=1e-9)
    np.testing.assert_array_equal(machine.probability(x), trained.predict(x))


def test_calibration_equals_isotonic_regression() -> None:
    rng = np.random.default_rng(3)
    raw = rng.random(60)
    curve = IsotonicRegression(out_of_bounds="clip").fit(raw, raw**2 + rng.normal(0, 0.1, 60))
    calibration = Calibration(curve.X_thresholds_, curve.y_thresholds_)
    probe = np.linspace(-0.2, 1.2, 101)
    np.testing.assert_allclose(calibration(probe), curve.predict(probe), atol=1e-6)


def test_arrays_that_do_not_fit_are_refused() -> None:
    one, two = np.ones(3), np.ones((2, 3))
    with pytest.raises(WeightsError, match="do not fit"):
        Projection(one, np.ones(4), one, two)
    with pytest.raises(WeightsError, match="'centre' is missing"):
        Projection.from_arrays({"mean": one, "scale": one, "components": two})
    with pytest.raises(WeightsError, match="weight"):
        LinearClassifier.from_arrays({"weight": two, "bias": np.zeros(())})
    with pytest.raises(WeightsError, match="must rise"):
        Calibration.from_arrays({"raw": np.array([0.5, 0.2]), "calibrated": np.zeros(2)})
    with pytest.raises(WeightsError, match="one length"):
        Calibration.from_arrays({"raw": np.zeros(2), "calibrated": np.zeros(3)})


def test_features_of_another_width_are_refused() -> None:
    one = np.ones(3)
    with pytest.raises(ArrayError, match="need"):
        Projection(one, one, one, np.ones((2, 3)))(np.zeros((4, 5)))
    with pytest.raises(ArrayError, match="need"):
        LinearClassifier(one, np.zeros(())).margin(np.zeros(3))
