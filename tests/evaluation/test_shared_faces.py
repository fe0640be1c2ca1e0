"""Figures on labelled faces: pooling, matching and slices by hand-made tables."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import polars as pl
import pytest

from featflow.datasets.frame import Frame
from featflow.evaluation import run, shared_faces
from featflow.evaluation.detection import Hits
from featflow.fex.build import fex_from_batches
from featflow.fex.table import Fex
from featflow.flow.batch import Batch, FaceBatch, FrameBatch


def table(boxes, scores) -> Fex:
    frames = FrameBatch.from_frames([Frame(np.zeros((10, 10, 3), np.uint8), "a", size_px=(10, 10))])
    n = len(boxes)
    fields = {
        "box": np.array(boxes, np.float32).reshape(n, 4),
        "score": np.array(scores, np.float32),
    }
    return fex_from_batches(Batch(frames, FaceBatch(np.zeros(n, np.int64), fields)))


def test_boxes_come_back_as_corners_strongest_first():
    fex = table([[0, 0, 2, 3], [4, 4, 8, 9]], [0.6, 0.9])
    assert shared_faces.detected_boxes(fex).tolist() == [[4, 4, 8, 9], [0, 0, 2, 3]]


def test_a_frame_without_a_face_has_no_boxes():
    frames = FrameBatch.from_frames([Frame(np.zeros((10, 10, 3), np.uint8), "a", size_px=(10, 10))])
    fex = fex_from_batches(Batch(frames), fields=["box", "score"])
    assert shared_faces.detected_boxes(fex).shape == (0, 4)


def test_recall_and_precision_pool_over_pictures():
    figures = shared_faces.recall_and_precision([Hits(3, 1, 0), Hits(0, 0, 2), Hits(1, 0, 0)])
    assert figures["recall"] == pytest.approx(4 / 5)
    assert figures["precision"] == pytest.approx(4 / 6)
    assert figures["faces"] == 5


def test_the_row_that_overlaps_most_is_matched():
    fex = table([[0, 0, 10, 10], [20, 20, 30, 30], [19, 19, 31, 31]], [0.9, 0.5, 0.6])
    row = shared_faces._matching_row(fex, np.array([20, 20, 30, 30.0]))
    assert row["FaceScore"].iloc[0] == pytest.approx(0.5)
    assert shared_faces._matching_row(fex, np.array([100, 100, 120, 120.0])) is None
    assert shared_faces._matching_row(fex, np.full(4, np.nan)) is None


def test_landmark_figures_count_missed_faces_apart():
    figures = shared_faces._landmark_figures(np.array([0.02, 0.04, 0.12, np.nan]))
    assert figures["missed"] == 1
    assert figures["nme"] == pytest.approx(0.06)
    assert figures["nme_median"] == pytest.approx(0.04)
    assert figures["above_010"] == pytest.approx(1 / 3)


def test_pose_figures_are_degrees_in_the_order_of_the_columns():
    error = np.radians([[1.0, -2.0, 3.0], [3.0, 2.0, -5.0]])
    figures = shared_faces._pose_figures(error)
    assert figures["pitch_mae"] == pytest.approx(2)
    assert figures["roll_mae"] == pytest.approx(2)
    assert figures["yaw_mae"] == pytest.approx(4)


def test_results_go_beside_the_recipe_and_into_the_card(tmp_path, monkeypatch):
    package = tmp_path / "package"
    (package / "nodes" / "face" / "x").mkdir(parents=True)
    card = package / "nodes" / "face" / "x" / "card.toml"
    card.write_text('id = "face/x"\n\n[metrics]\nold = 1\n\n[metrics."older"]\nb = 2\n')
    (tmp_path / "nodes" / "face" / "x").mkdir(parents=True)
    results = tmp_path / "nodes" / "face" / "x" / "results.json"
    results.write_text('{"node": "face/x", "training": {"steps": 3}}')
    monkeypatch.setattr(run.featflow, "__file__", str(package / "__init__.py"))
    run.save_results({"face/x": {"val set": {"recall": 0.98765, "each": {}}}}, tmp_path / "nodes")
    assert (
        card.read_text() == 'id = "face/x"\n\n[metrics]\n\n[metrics."val set"]\nrecall = 0.9877\n'
    )
    saved = json.loads(results.read_text())
    assert saved["training"] == {"steps": 3}
    assert saved["evaluation"]["val set"]["recall"] == 0.98765


def test_labelled_faces_that_are_found_are_counted_by_slice(tmp_path, monkeypatch):
    names = ["a.png", "b.png", "c.png"]

    class Photographs:
        root = tmp_path
        table = pl.DataFrame({"file": names})
        boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10.0]])

        def __len__(self):
            return 3

    class Finder:
        def detect(self, paths, progress_bar):
            found = [[[0, 0, 10, 9]], [[6, 6, 20, 20]], [[0, 0, 9, 10]]]
            rows = [
                table(box, [0.8]).assign(input=str(p)) for box, p in zip(found, paths, strict=True)
            ]
            return Fex(pd.concat(rows, ignore_index=True))

    last = {"last": np.array([False, False, True]), "nobody": np.zeros(3, bool)}
    monkeypatch.setattr(shared_faces.LabelledFaces, "open", lambda *_: Photographs())
    monkeypatch.setattr(shared_faces, "fairness_slices", lambda _: last)
    assert shared_faces.labelled_faces_found(Finder(), tmp_path) == {
        "all": {"faces": 3.0, "recall": pytest.approx(2 / 3)},
        "last": {"faces": 1.0, "recall": 1.0},
    }
