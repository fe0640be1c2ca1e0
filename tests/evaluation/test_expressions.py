"""Figures of expressions against scikit-learn, and faces against their pictures by stand-ins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

from featflow.datasets.frame import Frame
from featflow.detector import Detector
from featflow.evaluation import expressions
from featflow.evaluation.expressions import GivenBox, confusion_of, figures_of
from featflow.fex.schema import EMOTIONS
from featflow.flow.batch import Batch, FaceBatch, FrameBatch
from featflow.flow.node import Node


@given(st.integers(0, 2**31), st.integers(20, 200))
@settings(max_examples=30, deadline=None)
def test_figures_are_those_of_scikit_learn(seed, count):
    rng = np.random.default_rng(seed)
    told = rng.dirichlet(np.ones(7), count)
    truth = rng.choice(7, count, p=[0.02, 0.01, 0.01, 0.4, 0.06, 0.1, 0.4])
    told[rng.random(count) < 0.1] = np.nan
    seen = np.isfinite(told[:, 0])
    found = figures_of(told, truth)
    y, p = truth[seen], told[seen].argmax(1)
    assert found["faces"] == count
    assert found["missed"] == (~seen).sum()
    assert found["accuracy"] == pytest.approx(accuracy_score(y, p))
    assert found["accuracy_missed_wrong"] == pytest.approx((y == p).sum() / count)
    present = sorted(set(y))
    recall = recall_score(y, p, labels=present, average=None)
    assert found["balanced_accuracy_of_all"] == pytest.approx(recall.mean())
    strong = [r for r, k in zip(recall, present, strict=True) if (y == k).sum() >= 15]
    assert ("balanced_accuracy" in found) == bool(strong)
    assert found.get("balanced_accuracy", 0) == pytest.approx(np.mean(strong) if strong else 0)
    assert found["macro_f1"] == pytest.approx(f1_score(y, p, average="macro"))
    for k in range(7):
        name = f"recall_{EMOTIONS[k]}"
        assert (name in found) == (k in present)
        if k in present:
            assert found[name] == pytest.approx(recall[present.index(k)])
    counts = [confusion_of(told, truth)[name] for name in EMOTIONS]
    assert np.array_equal(counts, confusion_matrix(y, p, labels=range(7)))


def test_faces_that_were_all_missed_have_no_figures():
    assert figures_of(np.full((3, 7), np.nan), np.zeros(3, int)) == {"faces": 3, "missed": 3}


def test_rows_without_a_label_are_not_in_the_confusion():
    told = np.eye(7)[[0, 0, 3]]
    assert confusion_of(told, np.array([0, -1, 0]))["anger"] == [1, 0, 0, 1, 0, 0, 0]


class Finder(Node):
    """Finds the given boxes in frames brighter than 100, and nothing in others."""

    kind, name, unit = "face", "finder", "frame"
    provides = ("box", "score", "points5")

    def __init__(self, boxes, scores):
        super().__init__()
        self.boxes, self.scores = np.array(boxes, np.float32), np.array(scores, np.float32)

    def pre_process(self, batch):
        return np.array([image.mean() > 100 for image in batch.frames.images])

    def process(self, bright):
        return bright

    def post_process(self, batch, bright):
        uids = np.repeat(batch.frames.uids[bright], len(self.boxes))
        times = int(bright.sum())
        points = np.full((len(uids), 5, 2), np.nan, np.float32)
        fields = {"box": np.tile(self.boxes, (times, 1)), "score": np.tile(self.scores, times)}
        return FaceBatch(uids, {**fields, "points5": points})


class Corners(Node):
    """68 points in the box's upper left corner."""

    kind, name, unit = "landmark", "corners", "face"
    requires, provides = ("box",), ("landmarks",)

    def pre_process(self, batch):
        return batch.faces.box

    def process(self, box):
        return box

    def post_process(self, batch, box):
        return {"landmarks": np.repeat(box[:, None, :2], 68, 1)}


class ByPlace(Node):
    """Says the class whose number is the x of the face's first landmark."""

    kind, name, unit = "emotion", "by_place", "face"
    requires, provides = ("landmarks",), ("emotions",)
    shapes = {"emotions": (7,)}  # noqa: RUF012

    def pre_process(self, batch):
        return batch.faces.landmarks[:, 0, 0]

    def process(self, x):
        return x

    def post_process(self, batch, x):
        return {"emotions": np.eye(7, dtype=np.float32)[x.astype(int)]}


def detector(face):
    return Detector.only(face=face, landmark=Corners(), emotion=ByPlace(), device="cpu")


def pictures(*tones):
    return [np.full((48, 48, 3), tone, np.uint8) for tone in tones]


def test_of_several_faces_in_a_picture_the_strongest_counts():
    finder = Finder([[1, 0, 9, 9], [4, 0, 20, 20], [2, 0, 9, 9]], [0.6, 0.9, 0.7])
    told, boxes = expressions.on_pictures(detector(finder), pictures(200, 0, 150))
    assert told[[0, 2]].argmax(1).tolist() == [4, 4]
    assert np.isnan(told[1]).all()
    assert boxes[0].tolist() == [4, 0, 20, 20]
    assert np.isnan(boxes[1]).all()


class Photographs:
    """Two photographs, in the second of which the labelled face is elsewhere."""

    def __init__(self, tmp_path, boxes):
        from PIL import Image

        self.root, self.boxes = tmp_path, np.array(boxes, np.float32)
        (tmp_path / "images").mkdir()
        names = [f"{i}.png" for i in range(len(boxes))]
        for name in names:
            Image.fromarray(pictures(200)[0]).save(tmp_path / "images" / name)
        self.table = {"file": names}

    def __len__(self):
        return len(self.boxes)


def test_the_detection_that_overlaps_the_labelled_box_most_is_the_face(tmp_path):
    finder = Finder([[1, 0, 21, 20], [3, 0, 23, 20], [5, 30, 9, 34]], [0.9, 0.6, 0.8])
    nan = float("nan")
    faces = Photographs(tmp_path, [[4, 0, 24, 20], [30, 30, 45, 45], [nan] * 4])
    told = expressions.on_photographs(detector(finder), faces)
    assert told[0].argmax() == 3
    assert np.isnan(told[1:]).all()


class Votes:
    """Pictures bright (found) and dark (missed), and how people voted."""

    def __init__(self):
        self.votes = np.zeros((5, 10), int)
        for row, winner in enumerate([4, 4, 1, 4, 7]):  # the last is contempt
            self.votes[row, winner] = 10

    def read_all(self):
        return pictures(200, 200, 200, 0, 200)


def test_pictures_without_a_detection_are_cut_where_the_others_have_their_face(monkeypatch):
    finder = Finder([[4, 0, 20, 20]], [0.9])
    monkeypatch.setattr(
        expressions, "expression_detector", lambda node, face=finder: detector(face)
    )
    found = expressions.majority_figures(Votes(), "by_place")
    assert found["FER+ majority"]["faces"] == 4
    assert found["FER+ majority"]["missed"] == 1
    assert found["FER+ majority"]["accuracy"] == pytest.approx(2 / 3)
    everything = found["FER+ majority, all pictures"]
    assert everything["missed"] == 0
    assert everything["accuracy"] == pytest.approx(3 / 4)
    assert found["FER+ majority, all pictures, confusion"]["disgust"][4] == 1


def test_a_given_box_is_in_every_frame():
    frames = FrameBatch.from_frames(
        [Frame(p, "s", size_px=(48, 48)) for p in pictures(0, 1, 2)], first_uid=5
    )
    node = GivenBox([1, 2, 30, 40])
    faces = node.post_process(Batch(frames), node.process(node.pre_process(Batch(frames))))
    assert faces.frame_uid.tolist() == [5, 6, 7]
    assert faces.box.tolist() == [[1, 2, 30, 40]] * 3
    assert faces.score.tolist() == [1, 1, 1]
    assert np.isnan(faces.points5).all()
