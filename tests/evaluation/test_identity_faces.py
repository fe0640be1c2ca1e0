"""Verification on labelled faces, with embeddings whose answer is known."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from featflow.detector import Detector
from featflow.errors import OptionError
from featflow.evaluation import identity_faces
from featflow.evaluation.identity_faces import is_grey, pairs_of_one_person, slices, verification
from featflow.evaluation.pairs import draw_pairs


def people(count, each, spread, seed=0):
    rng = np.random.default_rng(seed)
    names = np.repeat([f"p{i}" for i in range(count)], each)
    centres = rng.standard_normal((count, 16)).repeat(each, 0)
    return names, (centres + spread * rng.standard_normal((count * each, 16))).astype(np.float32)


def test_figures_against_scikit_learn():
    names, vectors = people(30, 6, 0.9)
    found = verification(names, vectors)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    limit, auc, false, true = found["cosine_at_1_percent"], [], [], []
    for seed in range(10):
        one, two, same = draw_pairs(names, identity_faces.MOST_PAIRS, seed)
        scores = (unit[one] * unit[two]).sum(1)
        auc.append(roc_auc_score(same, scores))
        false.append((scores[~same] >= limit).mean())
        true.append((scores[same] >= limit).mean())
    assert found["auc"] == pytest.approx(np.mean(auc), abs=1e-6)
    assert np.mean(false) == pytest.approx(0.01, abs=0.004)
    assert found["true_accept_at_1_percent"] == pytest.approx(np.mean(true), abs=0.03)
    assert found["pairs"] == same.sum() == 300
    assert found["faces"] == 180
    assert 0.8 < found["accuracy"] < 1


def test_missed_faces_are_counted_and_in_no_pair():
    names, vectors = people(30, 4, 0.3)
    vectors[::8] = np.nan
    found = verification(names, vectors)
    assert found["missed"] == 15
    assert found["faces"] == 120
    assert found["pairs"] == pairs_of_one_person(names, vectors) < 180
    assert found["auc"] > 0.99


def test_slices_by_value(tmp_path):
    (tmp_path / "images").mkdir()
    grey = np.random.default_rng(0).integers(0, 256, (20, 20, 1)).repeat(3, 2).astype(np.uint8)
    colour = grey // 2 + np.array([100, 20, 0], np.uint8)
    for name, image in (("g.png", grey), ("c.png", colour)):
        Image.fromarray(image).save(tmp_path / "images" / name)
    turn = np.radians(30)
    frontal = {f"R{i}{j}": float(i == j) for i in range(3) for j in range(3)}
    turned = {**frontal, "R02": -np.sin(turn), "R22": np.cos(turn)}
    box = {"rf_x0": 10.0, "rf_y0": 10.0, "rf_x1": 100.0}
    rows = [
        {"file": "g.png", "source": "mux", **frontal, **box, "rf_y1": 120.0, "age": 25.0,
         "male_prob": 0.9},
        {"file": "c.png", "source": "ytf", **turned, **box, "rf_y1": 210.0, "age": 60.0,
         "male_prob": 0.1},
    ]  # fmt: skip
    pl.DataFrame(rows).with_columns(split=pl.lit("val")).write_parquet(tmp_path / "labels.parquet")
    from featflow.datasets.labelled import LabelledFaces

    found = {name: rows.tolist() for name, rows in slices(LabelledFaces.open(tmp_path)).items()}
    first = ("mux", "grey", "yaw under 20", "face under 160 px", "apparent age under 40")
    assert {name: rows for name, rows in found.items() if rows == [True, False]}.keys() == {
        *first,
        "looks male",
    }
    assert all(rows != [True, True] for rows in found.values())
    assert sum(rows == [False, True] for rows in found.values()) == 6


def test_grey_allows_for_compression():
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 250, (30, 30, 1)).repeat(3, 2)
    assert is_grey((grey + rng.integers(0, 3, grey.shape)).astype(np.uint8))
    assert not is_grey((grey // 2 + np.array([40, 0, 0])).astype(np.uint8))


def test_a_detector_without_an_identity_node_is_refused(tmp_path):
    with pytest.raises(OptionError, match="identity"):
        identity_faces.verification_on_val(Detector(identity=None, device="cpu"), tmp_path)
