"""Boosted trees against a walk of one row down one tree, and against XGBoost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featflow.errors import ArrayError, WeightsError
from featflow.features.trees import TreeEnsemble

EXPECTED = Path(__file__).parent / "expected"


def model(name: str) -> dict[str, Any]:
    """A small booster that XGBoost 3.2 trained and saved."""
    return dict(json.loads((EXPECTED / f"xgboost_{name}.json").read_text()))


def walk(tree: dict[str, Any], row: np.ndarray, node: int = 0) -> float:
    """The leaf that one row reaches, node by node, from XGBoost's own description."""
    left = tree["left_children"][node]
    if left == -1:
        return float(np.float32(tree["split_conditions"][node]))
    value = row[tree["split_indices"][node]]
    if np.isnan(value):
        goes_left = bool(tree["default_left"][node])
    else:
        goes_left = value < np.float32(tree["split_conditions"][node])
    return walk(tree, row, left if goes_left else tree["right_children"][node])


@st.composite
def random_model(draw: st.DrawFn) -> dict[str, Any]:
    """A booster of random trees over three features, thresholds on a coarse grid."""
    trees = []
    for _ in range(draw(st.integers(1, 4))):
        tree: dict[str, list[Any]] = {
            key: []
            for key in (
                "left_children",
                "right_children",
                "split_indices",
                "split_conditions",
                "default_left",
            )
        }

        def grow(depth: int, tree: dict[str, list[Any]] = tree) -> int:
            node = len(tree["left_children"])
            leaf = depth == 0 or draw(st.booleans())
            tree["left_children"].append(-1)
            tree["right_children"].append(-1)
            tree["split_indices"].append(0 if leaf else draw(st.integers(0, 2)))
            tree["split_conditions"].append(draw(st.integers(-3, 3)) / 2)
            tree["default_left"].append(0 if leaf else draw(st.integers(0, 1)))
            if not leaf:
                tree["left_children"][node] = grow(depth - 1)
                tree["right_children"][node] = grow(depth - 1)
            return node

        grow(draw(st.integers(0, 4)))
        trees.append(tree)
    return {
        "learner": {
            "objective": {"name": "binary:logistic"},
            "learner_model_param": {"base_score": "[2.5E-1]"},
            "gradient_booster": {"model": {"trees": trees}},
        }
    }


@settings(max_examples=40, deadline=None)
@given(random_model(), st.integers(0, 2**16))
def test_equals_a_walk_down_each_tree(booster: dict[str, Any], seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = (rng.integers(-4, 5, (9, 3)) / 2).astype(np.float32)
    rows[rng.random(rows.shape) < 0.2] = np.nan
    trees = booster["learner"]["gradient_booster"]["model"]["trees"]
    expected = [sum(walk(tree, row) for tree in trees) + np.log(0.25 / 0.75) for row in rows]
    ensemble = TreeEnsemble.from_xgboost(booster)
    np.testing.assert_allclose(ensemble.margin(rows), expected, atol=1e-9)
    probability = 1 / (1 + np.exp(-np.array(expected)))
    np.testing.assert_allclose(ensemble.probability(rows), probability, atol=1e-9)


@pytest.mark.parametrize("name", ["logistic", "hinge"])
def test_equals_xgboost_by_its_saved_answers(name: str) -> None:
    with np.load(EXPECTED / "xgboost.npz") as saved:
        ensemble = TreeEnsemble.from_xgboost(model(name))
        found = ensemble.probability(saved["features"])
        np.testing.assert_allclose(found, saved[f"{name}_probability"], atol=1e-6)
        margins = ensemble.margin(saved["features"])
        np.testing.assert_allclose(margins, saved[f"{name}_margin"], atol=1e-6)
        assert np.isnan(saved["features"]).any()


def test_equals_a_booster_trained_here() -> None:
    xgboost = pytest.importorskip("xgboost", reason="xgboost is not installed")
    rng = np.random.default_rng(8)
    features = rng.normal(size=(300, 20)).astype(np.float32)
    label = (features[:, 0] * features[:, 1] > 0).astype(int)
    trained = xgboost.XGBClassifier(n_estimators=20, max_depth=5, n_jobs=1).fit(features, label)
    text = bytes(trained.get_booster().save_raw("json")).decode()
    ensemble = TreeEnsemble.from_xgboost(json.loads(text))
    theirs = trained.predict_proba(features)[:, 1]
    np.testing.assert_allclose(ensemble.probability(features), theirs, atol=1e-6)


def test_a_value_on_the_threshold_goes_right() -> None:
    tree = {
        "left_children": [1, -1, -1],
        "right_children": [2, -1, -1],
        "split_indices": [0, 0, 0],
        "split_conditions": [0.1, -1.0, 1.0],
        "default_left": [1, 0, 0],
    }
    booster = model("hinge")
    booster["learner"]["gradient_booster"]["model"]["trees"] = [tree]
    ensemble = TreeEnsemble.from_xgboost(booster)
    just_below = np.nextafter(np.float32(0.1), np.float32(0))
    rows = np.array([[np.float32(0.1)], [just_below], [np.nan], [0.2]])
    np.testing.assert_array_equal(ensemble.probability(rows), [1, 0, 0, 1])
    # Rounded to single precision this is the threshold itself.
    almost = np.array([[float(np.float32(0.1)) - 1e-12]])
    assert ensemble.probability(almost)[0] == 1


def test_arrays_round_trip() -> None:
    ensemble = TreeEnsemble.from_xgboost(model("logistic"))
    again = TreeEnsemble.from_arrays(ensemble.arrays())
    rows = np.random.default_rng(0).normal(size=(50, 12))
    np.testing.assert_array_equal(again.margin(rows), ensemble.margin(rows))
    assert again.margin(rows[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("left", 10**6, "outside"),
        ("roots", -1, "outside"),
        ("feature", -1, "below 0"),
    ],
)
def test_arrays_that_point_outside_are_refused(name: str, value: int, message: str) -> None:
    arrays = TreeEnsemble.from_xgboost(model("hinge")).arrays()
    arrays[name] = arrays[name].copy()
    arrays[name][0] = value
    with pytest.raises(WeightsError, match=message):
        TreeEnsemble.from_arrays(arrays)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("depth", np.asarray(2**31 - 1), "nodes cannot be 2147483647 deep"),
        ("depth", np.asarray(-1), "nodes cannot be -1 deep"),
        ("depth", np.asarray(3.0), "whole numbers"),
        ("feature", None, "whole numbers"),
    ],
)
def test_arrays_that_would_run_for_ever_or_fail_later_are_refused(
    name: str, value: np.ndarray | None, message: str
) -> None:
    arrays = TreeEnsemble.from_xgboost(model("hinge")).arrays()
    changed = {**arrays, name: arrays[name].astype(float) if value is None else value}
    with pytest.raises(WeightsError, match=message):
        TreeEnsemble.from_arrays(changed)


def test_missing_and_short_arrays_are_refused() -> None:
    arrays = TreeEnsemble.from_xgboost(model("hinge")).arrays()
    with pytest.raises(WeightsError, match="differ in length"):
        TreeEnsemble.from_arrays({**arrays, "threshold": arrays["threshold"][:-1]})
    del arrays["value"]
    with pytest.raises(WeightsError, match="value"):
        TreeEnsemble.from_arrays(arrays)


def test_other_models_are_refused() -> None:
    other = model("hinge")
    other["learner"]["objective"]["name"] = "multi:softprob"
    with pytest.raises(WeightsError, match="multi:softprob"):
        TreeEnsemble.from_xgboost(other)
    with pytest.raises(WeightsError, match="not an XGBoost model"):
        TreeEnsemble.from_xgboost({"learner": {}})
    circle = model("hinge")
    tree = circle["learner"]["gradient_booster"]["model"]["trees"][0]
    tree["left_children"][tree["left_children"][0]] = 0
    with pytest.raises(WeightsError, match="do not form a tree"):
        TreeEnsemble.from_xgboost(circle)


def test_too_few_features_are_refused() -> None:
    with pytest.raises(ArrayError, match="features for trees"):
        TreeEnsemble.from_xgboost(model("logistic")).margin(np.zeros((2, 1)))
