"""Teaching a node from a table: what it learns, and that it plugs in, saves and loads."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from featflow import Detector
from featflow.datasets import sample_photo
from featflow.errors import (
    MissingInputError,
    OptionError,
    SchemaError,
    WeightsError,
)
from featflow.fex import Fex
from featflow.flow.batch import Batch, FaceBatch, FrameBatch
from featflow.nodes._cards import read_card
from featflow.testing.painted import paint_face, random_landmarks, table_of
from featflow.train import fit_node, load_node
from featflow.train.fitted import Head, features_of, network_node

HAPPY, SAD = "happiness", "sadness"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Sixty painted faces: mouths of happy people are lifted at the corners."""
    folder = tmp_path_factory.mktemp("moods")
    rng = np.random.default_rng(0)
    points = random_landmarks(rng, 60, (160, 200))
    happy = np.arange(60) % 2 == 0
    points[happy[:, None] & np.isin(np.arange(68), [48, 54, 60, 64])] -= [0, 5]
    points[~happy[:, None] & np.isin(np.arange(68), [48, 54, 60, 64])] += [0, 5]
    paths = [folder / f"{number}.png" for number in range(60)]
    for path, face in zip(paths, points, strict=True):
        cv2.imwrite(str(path), paint_face(face, (160, 200), (200, 150, 120)))
    fex = table_of(paths, np.zeros(60, np.int64), points, (160, 200))
    fex["mood"] = np.where(happy, HAPPY, SAD)
    fex["AU12"] = np.where(happy, 0.9, 0.1).astype(np.float32)
    fex["Identity"] = [f"p{n % 12}" for n in range(60)]
    return fex, folder / "chips"


@pytest.fixture(scope="module")
def node(world):
    fex, cache = world
    return fit_node("emotion", fex.iloc[:40], "mood", base="landmark/tiny", cache=cache)


def batch_of(fex):
    from featflow.datasets import open_source
    from featflow.datasets.face_table import TableFaces

    faces = TableFaces(fex)
    frames = FrameBatch.from_frames(list(open_source(fex["input"].tolist())))
    fields = {"box": faces.box.astype(np.float32), "landmarks": faces.landmarks.astype(np.float32),
              "points5": faces.points5.astype(np.float32)}  # fmt: skip
    return Batch(frames, FaceBatch(np.arange(len(fex)), fields))


def predict(node, fex):
    batch = batch_of(fex)
    node.load("cpu")
    return node.post_process(batch, node.process(node.pre_process(batch)))


def test_it_learns_what_the_labels_say(node, world):
    fex, _ = world
    found = predict(node, fex.iloc[40:])["emotions"]
    columns = ("anger", "disgust", "fear", HAPPY, SAD, "surprise", "neutral")
    happy = found[:, columns.index(HAPPY)]
    truth = (fex["mood"].iloc[40:] == HAPPY).to_numpy()
    assert ((happy > 0.5) == truth).mean() >= 0.95
    assert np.allclose(happy + found[:, columns.index(SAD)], 1, atol=1e-6)
    unseen = [columns.index(c) for c in columns if c not in (HAPPY, SAD)]
    assert np.isnan(found[:, unseen]).all()
    assert node.about["metrics"]["accuracy"] > 0.9
    assert node.about["faces"] == 40


def test_labels_that_say_nothing_are_found_out(world):
    fex, cache = world
    shuffled = fex.copy()
    rng = np.random.default_rng(1)
    shuffled["mood"] = rng.permutation(fex["mood"].to_numpy())
    told = fit_node("emotion", shuffled, "mood", base="landmark/tiny", cache=cache)
    assert told.about["metrics"]["accuracy"] < 0.75


def test_it_equals_scikit_learn(node, world):
    from sklearn.linear_model import LogisticRegression

    fex, _ = world
    base = network_node("landmark/tiny")
    base.load("cpu")
    batch = batch_of(fex)
    features = features_of(base, batch.crops(base.spec.crop), batch.faces.landmarks.astype(float))
    x = (features - features[:40].mean(0)) / features[:40].std(0).clip(1e-6)
    model = LogisticRegression(C=0.1, max_iter=2000).fit(x[:40], fex["mood"].iloc[:40])
    wanted = model.predict_proba(x[40:])[:, list(model.classes_).index(HAPPY)]
    found = predict(node, fex.iloc[40:])["emotions"][:, 3]
    assert np.abs(found - wanted).max() < 0.02


def test_action_units_are_numbers(world):
    fex, cache = world
    told = fit_node("au", fex.iloc[:40], "AU12", base="landmark/tiny", cache=cache)
    found = predict(told, fex.iloc[40:])["aus"]
    from featflow.fex.schema import GROUPS

    at = GROUPS["au"].names().index("AU12")
    assert np.abs(found[:, at] - fex["AU12"].iloc[40:]).mean() < 0.15
    assert np.isnan(np.delete(found, at, 1)).all()
    assert told.about["metrics"]["mean_absolute_error"] < 0.15


def test_it_comes_back_from_a_folder(node, world, tmp_path):
    fex, _ = world
    node.save(tmp_path / "mine")
    again = load_node(tmp_path / "mine")
    one, two = predict(node, fex.iloc[:8]), predict(again, fex.iloc[:8])
    assert np.array_equal(one["emotions"], two["emotions"], equal_nan=True)
    assert again.weights_hash() == node.weights_hash()
    card = read_card(tmp_path / "mine" / "card.toml")
    assert card.id == "emotion/fitted"
    assert card.sha256 == node.weights_hash()
    assert card.metrics["accuracy"] == node.about["metrics"]["accuracy"]
    assert card.provides == ("emotions",)


def test_heads_of_many_classes_come_back_whatever_their_order_in_memory(world, tmp_path):
    fex, cache = world
    four = fex.assign(mood=[("anger", "fear", HAPPY, SAD)[n % 4] for n in range(len(fex))])
    told = fit_node("emotion", Fex(four, meta=fex.meta), "mood", base="landmark/tiny", cache=cache)
    again = load_node(told.save(tmp_path / "four"))
    assert np.array_equal(again.head.weight, told.head.weight)
    told.head = replace(told.head, weight=np.asfortranarray(told.head.weight))
    turned = load_node(told.save(tmp_path / "turned"))
    assert np.array_equal(turned.head.weight, told.head.weight)


def test_damage_and_other_trunks_are_named(node, tmp_path, monkeypatch):
    with pytest.raises(MissingInputError):
        load_node(tmp_path)
    node.save(tmp_path / "a")
    weights = tmp_path / "a" / "weights.safetensors"
    monkeypatch.setattr("featflow.nodes._network.NetworkNode.weights_hash", lambda self: "other")
    with pytest.raises(WeightsError, match="other weights of landmark/tiny"):
        load_node(tmp_path / "a")
    weights.write_bytes(weights.read_bytes()[:50])
    with pytest.raises(WeightsError, match="damaged"):
        load_node(tmp_path / "a")


def test_it_plugs_into_a_detector(node):
    with Detector.only(face="tiny", landmark="tiny", emotion=node) as detector:
        fex = detector.detect(sample_photo(), progress_bar=False)
    assert len(fex) == 1
    assert fex[HAPPY].iloc[0] + fex[SAD].iloc[0] == pytest.approx(1, abs=1e-5)
    assert np.isnan(fex["anger"].iloc[0])
    assert fex.meta["nodes"]["emotion"] == "emotion/fitted"
    assert node.weights_hash() in json.dumps(dict(fex.meta))


def test_a_frame_without_a_face_and_no_rows(node):
    nothing = Batch(FrameBatch.from_frames([]), FaceBatch.empty(("box", "points5", "landmarks")))
    found = node.post_process(nothing, node.process(node.pre_process(nothing)))
    assert found["emotions"].shape == (0, 7)


@pytest.mark.parametrize(
    ("change", "kind", "labels", "error", "named"),
    [
        ({}, "gaze", "mood", OptionError, "gaze"),
        ({}, "emotion", "rating", SchemaError, "no column rating"),
        ({}, "emotion", "AU12", SchemaError, "column of texts"),
        ({"mood": "glee"}, "emotion", "mood", SchemaError, "glee"),
        ({"mood": HAPPY}, "emotion", "mood", SchemaError, "two classes"),
        ({}, "au", "mood", SchemaError, "AU12"),
        ({"AU12": 3.0}, "au", "AU12", SchemaError, "0..1"),
        ({"AU12": np.nan}, "au", "AU12", SchemaError, "no label"),
    ],
)
def test_bad_labels_are_named(world, change, kind, labels, error, named):
    fex, cache = world
    table = Fex(fex.assign(**change), meta=fex.meta)
    with pytest.raises(error, match=named):
        fit_node(kind, table, labels, base="landmark/tiny", cache=cache)


def test_options_are_checked(world):
    fex, cache = world
    with pytest.raises(OptionError, match="penalty"):
        fit_node("emotion", fex, "mood", penalty=0, cache=cache)
    with pytest.raises(OptionError, match="not a network"):
        fit_node("emotion", fex, "mood", base="pose/mlp", cache=cache)
    with pytest.raises(TypeError):
        fit_node("emotion", fex, "mood", base="landmark/tiny", colour="red")


def test_probabilities_of_a_head_are_a_softmax():
    one = np.ones(2, np.float32)
    head = Head(("a", "b"), one, 2 * one, np.eye(2, dtype=np.float32), one, classes=True)
    features = np.array([[3.0, 5.0]])
    odds = np.exp([1 + 1.0, 2 + 1.0])
    assert np.allclose(head(features), [odds / odds.sum()])
    linear = Head(("a", "b"), one, 2 * one, np.eye(2, dtype=np.float32), 0 * one, classes=False)
    assert np.allclose(linear(np.array([[2.0, -9.0]])), [[0.5, 0.0]])
