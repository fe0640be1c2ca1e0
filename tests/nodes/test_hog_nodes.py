"""The nodes around the HOG classifiers, whole, on made-up classifiers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from featflow.datasets.frame import Frame
from featflow.errors import WeightsError
from featflow.features.classical import LinearClassifier, Projection
from featflow.features.hog_classifiers import (
    AU_COLUMNS,
    EMOTION_COLUMNS,
    SVM_REGIONS,
    XGB_REGIONS,
    HogClassifiers,
)
from featflow.features.hog_input import HOG_INPUTS
from featflow.features.trees import TreeEnsemble
from featflow.fex.schema import ACTION_UNITS, EMOTIONS
from featflow.flow.batch import Batch, FaceBatch, FrameBatch
from featflow.geometry.mean_face import FACE68_CM
from featflow.nodes import card_of, make_node
from featflow.testing import check_node

EXPECTED = Path(__file__).parents[1] / "features" / "expected"
NODES = {
    "au/xgb": (AU_COLUMNS, XGB_REGIONS),
    "au/svm": (AU_COLUMNS, SVM_REGIONS),
    "emotion/svm": (EMOTION_COLUMNS, {}),
}


def classifiers(node, zero_regions=False):
    rng = np.random.default_rng(4)
    columns, regions = NODES[node]
    projections = {
        part: Projection(
            rng.normal(size=5408) * 0.1,
            rng.uniform(0.5, 2, 5408),
            rng.normal(size=5408) * 0.1,
            rng.normal(size=(6, 5408)) * 0.1,
        )
        for part in ("upper", "lower", "full")
    }
    tree = TreeEnsemble.from_xgboost(json.loads((EXPECTED / "xgboost_logistic.json").read_text()))
    made = {
        name: tree
        if node == "au/xgb"
        else LinearClassifier(np.r_[rng.normal(size=6), np.zeros(136)], np.float64(0.1))
        for name in columns[:-1]  # the last one has none
    }
    return HogClassifiers(columns, regions, projections, made, zero_regions=zero_regions)


@pytest.fixture(scope="module")
def lay(tmp_path_factory):
    def write(node):
        folder = tmp_path_factory.mktemp("hog")
        name = card_of(node).source.files[0].replace(".skops", ".safetensors")
        arrays = classifiers(node).arrays()
        save_file({k: np.array(v, order="C") for k, v in arrays.items()}, folder / name)
        return folder

    return write


def some_landmarks(centre):
    """Three faces' landmarks, a little apart, in the middle of their crop."""
    points = FACE68_CM[:, :2] * [6.0, -6.0] + centre
    return points + np.random.default_rng(2).normal(size=(3, 68, 2))


def run(node, batch):
    with torch.inference_mode():
        return node.post_process(batch, node.process(node.pre_process(batch)))


@pytest.mark.parametrize("node", sorted(NODES))
@pytest.mark.parametrize(
    ("mode", "side", "grown"), [("trained", 192, 1.6), ("reference", 112, 1.2)]
)
def test_faces_from_pixels_to_values(lay, node, mode, side, grown):
    image = np.random.RandomState(1).randint(0, 256, (30, 31, 3)).repeat(10, 0).repeat(10, 1)
    image, corner = image.astype(np.uint8), np.array([43, 27])
    marks = some_landmarks(corner + side / 2)
    centre, half = corner + side / 2, side / grown / 2
    fields = {
        "box": np.tile([*(centre - half), *(centre + half)], (3, 1)),
        "landmarks": marks.copy(),
    }
    fields["landmarks"][1, 5] = np.nan
    frames = FrameBatch.from_frames([Frame(image, "f", 0, 0.0, image.shape[:2])])
    made = make_node(*node.split("/"), {"weights": lay(node), "preprocessing": mode})
    made.load()
    (values,) = run(made, Batch(frames, FaceBatch(np.zeros(3, np.int64), fields))).values()
    cut = image[27 : 27 + side, 43 : 43 + side]
    features = HOG_INPUTS[mode].features(np.stack([cut] * 3), marks - corner)
    expected = classifiers(node).predict(*features)
    assert values.dtype == np.float32
    assert np.isnan(values[:, -1]).all()
    assert np.isnan(values[1]).all()
    np.testing.assert_allclose(values[[0, 2], :-1], expected[[0, 2], :-1], atol=1e-5)


def test_regions_are_set_to_zero_where_the_caller_asks(lay):
    folder = lay("au/svm")
    nodes = [
        make_node("au", "svm", {"weights": folder, "zero_regions": zero}) for zero in (False, True)
    ]
    rng = np.random.default_rng(8)
    features = rng.random((40, 5408)).astype(np.float32), rng.integers(1, 112, (40, 68, 2))
    kept, zeroed = (node.process(features)[:, :-1] for node in nodes)
    np.testing.assert_array_equal(zeroed, classifiers("au/svm", True).predict(*features)[:, :-1])
    part = [AU_COLUMNS.index(name) for name in SVM_REGIONS]
    whole = sorted(set(range(19)) - set(part))
    np.testing.assert_array_equal(kept[:, whole], zeroed[:, whole])
    assert (kept[:, part] != zeroed[:, part]).any()


def test_outputs_are_in_the_order_of_the_table():
    assert tuple(f"AU{number:02d}" for number in ACTION_UNITS) == AU_COLUMNS
    assert EMOTION_COLUMNS == EMOTIONS


@pytest.mark.parametrize("node", sorted(NODES))
def test_nodes_conform(lay, node):
    assert check_node(make_node(*node.split("/"), {"weights": lay(node)})).node == node


def test_weights_of_something_else_are_refused(tmp_path):
    save_file({"a.b": np.ones(2)}, tmp_path / "w.safetensors")
    node = make_node("au", "xgb", {"weights": tmp_path / "w.safetensors"})
    with pytest.raises(WeightsError, match=r"w\.safetensors: 'a\.b' is no array of a HOG"):
        node.load()
