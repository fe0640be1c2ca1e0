"""Figures of action units by hand-made tables."""

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from featflow.datasets.frame import Frame
from featflow.datasets.labelled import LabelledFaces
from featflow.evaluation.action_units import by_unit, closed_eyes, smiles, summary
from featflow.evaluation.shared_faces import matched_values
from featflow.fex.build import fex_from_batches
from featflow.flow.batch import Batch, FaceBatch, FrameBatch
from featflow.nodes.au.tiny.units import SILENT, UNITS


@pytest.fixture
def tables():
    rng = np.random.default_rng(0)
    truth = rng.random((60, 20))
    seen = 0.3 * truth + 0.2 * rng.random((60, 20))
    seen[:, 1] = np.nan
    seen[:, 2] = rng.random(60)
    seen[0] = np.nan
    return truth, seen


def test_correlation_forgives_scale_and_concordance_does_not(tables):
    truth, seen = tables
    figures = by_unit(truth, seen)
    assert set(figures) == set(UNITS) - set(SILENT) - {"AU02"}
    a, b = truth[1:, 0], seen[1:, 0]
    assert figures["AU01"]["correlation"] == pytest.approx(np.corrcoef(a, b)[0, 1])
    wanted = 2 * np.cov(a, b, ddof=0)[0, 1] / (a.var() + b.var() + (a.mean() - b.mean()) ** 2)
    assert figures["AU01"]["concordance"] == pytest.approx(wanted)
    assert wanted < figures["AU01"]["correlation"]


def test_summary_counts_faces_missed_and_units_told(tables):
    figures = summary(*tables)
    assert figures["faces"] == 60
    assert figures["missed"] == 1
    assert figures["units"] == 16
    assert figures["units_above_05"] == 15  # all but AU04, which is chance
    mean = np.mean([each["correlation"] for each in by_unit(*tables).values()])
    assert figures["correlation"] == pytest.approx(mean)


def test_smiles_are_medians_of_the_faces_that_were_found():
    seen = np.full((5, 20), 0.1)
    seen[:, UNITS.index("AU12")] = [0.9, 0.5, 0.7, np.nan, 0.2]
    emotion = np.array(["happiness", "happiness", "happiness", "happiness", "neutral"])
    assert smiles(seen, emotion) == pytest.approx(
        {"happiness_faces": 3, "happiness_median": 0.7, "neutral_faces": 1, "neutral_median": 0.2}
    )


def test_closed_eyes_are_those_of_the_other_network():
    rng = np.random.default_rng(1)
    seen, truth = rng.random((80, 20)), rng.random((80, 20))
    eye_open = np.concatenate([np.full(20, 0.01), np.full(40, 0.99), np.full(20, 0.5)])
    column = UNITS.index("AU43")
    seen[:20, column] += 0.5
    seen[3] = np.nan
    figures = closed_eyes(seen, truth, eye_open)
    assert (figures["closed"], figures["open"]) == (19, 40)
    rows = np.r_[0:3, 4:60]
    wanted = roc_auc_score(eye_open[rows] < 0.5, seen[rows, column])
    assert figures["auc"] == pytest.approx(wanted)
    assert figures["auc"] > 0.8
    wanted = roc_auc_score(eye_open[rows] < 0.5, truth[rows, column])
    assert figures["teacher_auc"] == pytest.approx(wanted)


def test_values_come_from_the_detection_on_the_labelled_face(tmp_path):
    names = [f"{i}.png" for i in range(3)]
    box = {"rf_x0": [10.0, 10.0, 10.0], "rf_y0": [10.0] * 3, "rf_x1": [30.0] * 3}
    faces = LabelledFaces(tmp_path, pl.DataFrame({"file": names, **box, "rf_y1": [30.0] * 3}))
    frames = FrameBatch.from_frames(
        [Frame(np.zeros((90, 90, 3), np.uint8), str(tmp_path / "images" / n)) for n in names]
    )
    fields = {
        "box": np.array([[10, 10, 30, 31], [60, 60, 80, 80], [60, 60, 80, 80]], np.float32),
        "score": np.array([0.6, 0.9, 0.9], np.float32),
        "aus": np.arange(60, dtype=np.float32).reshape(3, 20),
    }
    batch = Batch(frames, FaceBatch(np.array([0, 0, 1]), fields))
    found = matched_values(fex_from_batches(batch), faces, ["AU02", "AU01"])
    assert found[0].tolist() == [1.0, 0.0]
    assert np.isnan(found[1:]).all()
