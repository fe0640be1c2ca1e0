"""Verification on labelled faces, with embeddings whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from featflow.detector import Detector
from featflow.errors import OptionError
from featflow.evaluation import identity_faces
from featflow.evaluation.identity_faces import pairs_of_one_person, verification
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


def test_a_detector_without_an_identity_node_is_refused(tmp_path):
    with pytest.raises(OptionError, match="identity"):
        identity_faces.verification_on_val(Detector(identity=None, device="cpu"), tmp_path)
