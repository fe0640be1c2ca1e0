"""The whole chain from HOG values to action units, against a loop over its parts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from featflow.errors import ArrayError, WeightsError
from featflow.features.classical import Calibration, LinearClassifier, Projection
from featflow.features.hog_classifiers import (
    AU_COLUMNS,
    SVM_REGIONS,
    UPPER_END,
    XGB_REGIONS,
    HogClassifiers,
    Region,
)
from featflow.features.trees import TreeEnsemble

PARTS: tuple[Region, ...] = ("upper", "lower", "full")
VALUES = 40
BORDER = 17


def projection(rng: np.random.Generator) -> Projection:
    """A random projection of 40 features on 4 components."""
    return Projection(
        rng.normal(size=VALUES),
        rng.random(VALUES) + 0.5,
        rng.normal(size=VALUES),
        rng.normal(size=(4, VALUES)) * 30,
    )


def linear(rng: np.random.Generator) -> LinearClassifier:
    """A random classifier of 4 components and 136 coordinates."""
    return LinearClassifier(rng.normal(size=140), np.asarray(rng.normal() * 40))


def made(regions: Mapping[str, Region], *, zero: bool = False) -> HogClassifiers:
    """Random classifiers of all action units but the last."""
    rng = np.random.default_rng(5)
    return HogClassifiers(
        AU_COLUMNS,
        regions,
        {part: projection(rng) for part in PARTS},
        {name: linear(rng) for name in AU_COLUMNS[:-1]},
        {"AU02": Calibration(np.array([0.0, 1.0]), np.array([0.2, 0.9]))},
        zero,
        BORDER,
    )


def inputs() -> tuple[np.ndarray, np.ndarray]:
    """HOG values and landmarks of seven faces."""
    rng = np.random.default_rng(6)
    return rng.random((7, VALUES)), rng.integers(0, 112, (7, 68, 2))


def by_loop(model: HogClassifiers, hog: np.ndarray, points: np.ndarray) -> np.ndarray:
    """One face and one output at a time."""
    result = np.full((len(hog), len(AU_COLUMNS)), np.nan)
    for face in range(len(hog)):
        for column, name in enumerate(AU_COLUMNS[:-1]):
            part = model.regions.get(name, "full")
            values = hog[face].copy()
            if model.zero_regions and part == "upper":
                values[BORDER:] = 0
            if model.zero_regions and part == "lower":
                values[:BORDER] = 0
            p = model.projections[part]
            components = p.components @ ((values - p.mean) / p.scale - p.centre)
            flat = [float(v) for point in points[face] for v in point]  # x0, y0, x1, y1, ...
            classifier = model.classifiers[name]
            margin = classifier.weight @ np.array([*components, *flat]) + classifier.bias
            raw = float(margin > 0)
            result[face, column] = 0.2 + 0.7 * raw if name == "AU02" else raw
    return result


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("regions", [XGB_REGIONS, SVM_REGIONS])
def test_equals_a_loop_over_faces_and_outputs(regions: Mapping[str, Region], zero: bool) -> None:
    model, (hog, points) = made(regions, zero=zero), inputs()
    np.testing.assert_allclose(model.predict(hog, points), by_loop(model, hog, points))


def test_regions_and_their_zeroing_matter() -> None:
    hog, points = inputs()
    answers = [
        made(regions, zero=zero).predict(hog, points)[:, :-1]
        for regions in (XGB_REGIONS, SVM_REGIONS)
        for zero in (False, True)
    ]
    for first in range(4):
        for second in range(first):
            assert (answers[first] != answers[second]).any()


def test_regions_are_the_published_ones() -> None:
    parts = {
        part: [int(name[2:]) for name, region in XGB_REGIONS.items() if region == part]
        for part in PARTS
    }
    assert parts == {"upper": [1, 2, 7], "lower": [11, 14, 17, 23, 24, 26], "full": []}
    parts = {
        part: [int(name[2:]) for name, region in SVM_REGIONS.items() if region == part]
        for part in PARTS
    }
    assert parts == {"upper": [1, 4, 6], "lower": [11, 12, 17], "full": []}
    assert UPPER_END == 2414
    assert len(AU_COLUMNS) == 20


def test_arrays_round_trip() -> None:
    model, (hog, points) = made(XGB_REGIONS), inputs()
    again = HogClassifiers.from_arrays(model.arrays(), AU_COLUMNS, XGB_REGIONS)
    np.testing.assert_array_equal(again.predict(hog, points), model.predict(hog, points))
    assert np.isnan(again.predict(hog, points)[:, -1]).all()
    assert again.predict(hog[:0], points[:0]).shape == (0, 20)


def test_files_of_another_kind_are_refused() -> None:
    arrays = made(XGB_REGIONS).arrays()
    with pytest.raises(WeightsError, match="no array of a HOG classifier"):
        HogClassifiers.from_arrays({**arrays, "conv1.weight": np.zeros(3)}, AU_COLUMNS, {})
    with pytest.raises(WeightsError, match="AU01"):
        HogClassifiers.from_arrays(arrays, ("anger",), {})
    without = {key: value for key, value in arrays.items() if "projection.upper" not in key}
    with pytest.raises(WeightsError, match="upper"):
        HogClassifiers.from_arrays(without, AU_COLUMNS, XGB_REGIONS)
    renamed = {key.replace("projection.upper", "projection.left"): v for key, v in arrays.items()}
    with pytest.raises(WeightsError, match="left"):
        HogClassifiers.from_arrays(renamed, AU_COLUMNS, XGB_REGIONS)


@pytest.mark.parametrize("more", [-1, 1])
def test_classifiers_that_do_not_fit_their_inputs_are_refused(more: int) -> None:
    arrays = made(XGB_REGIONS).arrays()
    arrays["classifier.AU05.weight"] = np.resize(
        arrays["classifier.AU05.weight"], len(arrays["classifier.AU05.weight"]) + more
    )
    with pytest.raises(WeightsError, match="the classifier of AU05 does not fit"):
        HogClassifiers.from_arrays(arrays, AU_COLUMNS, XGB_REGIONS)


def test_trees_that_look_beyond_their_inputs_are_refused() -> None:
    linear = made(XGB_REGIONS)
    leaf, one = np.zeros(3, np.int32), np.arange(3, dtype=np.int32)
    inputs_of_au05 = len(linear.projections["full"].components) + 136
    for last, fits in ((inputs_of_au05 - 1, True), (inputs_of_au05, False)):
        tree = {
            "roots": leaf[:1],
            "left": np.array([1, 1, 2], np.int32),
            "right": np.array([2, 1, 2], np.int32),
            "feature": np.where(one == 0, last, 0),
            "threshold": leaf.astype(np.float32),
            "default_left": leaf.astype(bool),
            "value": one.astype(np.float32),
            "base": np.asarray(0.0),
            "hinge": np.asarray(False),
            "depth": np.asarray(1),
        }
        classifiers = {**linear.classifiers, "AU05": TreeEnsemble.from_arrays(tree)}
        if fits:
            HogClassifiers(AU_COLUMNS, XGB_REGIONS, linear.projections, classifiers)
        else:
            with pytest.raises(WeightsError, match="AU05 does not fit"):
                HogClassifiers(AU_COLUMNS, XGB_REGIONS, linear.projections, classifiers)


def test_landmarks_of_another_shape_are_refused() -> None:
    model, (hog, points) = made(XGB_REGIONS), inputs()
    with pytest.raises(ArrayError, match="landmarks"):
        model.predict(hog, points.reshape(7, 136))
