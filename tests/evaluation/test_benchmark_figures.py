"""Figures on benchmarks, from tables of detections written by hand, against other libraries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.transform import Rotation
from sklearn import metrics

from featflow.datasets.benchmarks.sets import BoxSet, FaceSet, PairSet, of_photographs
from featflow.errors import OptionError
from featflow.evaluation import benchmark_figures as figures
from featflow.evaluation.benchmark_faces import middle_embeddings, seen_values
from featflow.fex import Fex
from featflow.fex.schema import EMOTIONS
from featflow.geometry.rotation import angles_from_rotation, rotation_from_angles

NAN = float("nan")
BOX = ("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight")


class Told:
    """In place of a detector: gives a table that was written by hand."""

    def __init__(self, rows):
        table = pd.DataFrame(rows)
        for name, value in zip(BOX, (0.0, 0.0, 10.0, 10.0), strict=True):
            table[name] = table.get(name, pd.Series(value, table.index)).fillna(value)
        defaults = {"frame": 0, "FaceScore": 0.9, "FrameWidth": 100, "FrameHeight": 100}
        for name, value in defaults.items():
            if name not in table:
                table[name] = value
        self.table, self.asked = Fex(table), {}

    def detect(self, inputs, **options):
        self.asked = {"inputs": inputs, **options}
        return self.table


def photographs(count, **truth):
    return of_photographs([Path(f"{i}.jpg") for i in range(count)], **truth)


def box(x):
    return dict(zip(BOX, (x, 0.0, 10.0, 10.0), strict=True))


def test_the_face_is_the_detection_on_the_box_or_the_surest():
    rows = [
        {"input": "0.jpg", "FaceScore": 0.5, "v": 1.0, **box(50.0)},
        {"input": "0.jpg", "FaceScore": 0.9, "v": 2.0, **box(0.0)},
        {"input": "1.jpg", "FaceScore": 0.5, "v": 3.0, **box(0.0)},
        {"input": "1.jpg", "FaceScore": 0.9, "v": 4.0, **box(50.0)},
        {"input": "2.jpg", "FaceScore": 0.0, "v": 5.0},
        {"input": "3.jpg", "FaceScore": 0.9, "v": 6.0, **box(30.0)},
    ]
    data = photographs(5, gaze=np.zeros((5, 2)))
    data.boxes[0] = data.boxes[3] = [52, 0, 62, 10]
    detector = Told(rows)
    found = seen_values(detector, data, ["v", "no such column"])
    np.testing.assert_array_equal(found[:, 0], [1, 4, NAN, NAN, NAN])
    assert np.isnan(found[:, 1]).all()
    assert detector.asked["on_error"] == "row"  # a damaged picture is a missed face


def test_frames_of_a_clip_are_told_apart_and_clips_read_once():
    rows = [{"input": "a.avi", "frame": i, "v": float(i)} for i in (0, 1, 3)]
    rows += [{"input": "b.avi", "frame": 1, "v": 9.0}]
    inputs = (Path("a.avi"),) * 3 + (Path("b.avi"),) * 2
    data = FaceSet(inputs, np.array([3, 2, 0, 0, 1]), np.full((5, 4), NAN))
    detector = Told(rows)
    np.testing.assert_array_equal(seen_values(detector, data, ["v"])[:, 0], [3, NAN, 0, NAN, 9])
    assert detector.asked["inputs"] == [Path("a.avi"), Path("b.avi")]


def units_told(occurrence=False):
    draw = np.random.default_rng(0)
    truth = draw.integers(0, 2 if occurrence else 6, (60, 3)).astype(float)
    seen = np.clip(truth / (1 if occurrence else 5) + draw.normal(0, 0.3, truth.shape), 0, 1)
    rows = [
        {"input": f"{i}.jpg", "AU01": a, "AU12": b} for i, (a, b, _) in enumerate(seen.tolist())
    ]
    data = replace(
        photographs(60, intensities=truth),
        units=("AU01", "AU12", "AU25"),
        present_from=1.0 if occurrence else 2.0,
    )
    return figures.unit_figures(Told(rows[:-2]), data), truth[:-2], seen[:-2]


def test_action_units_against_scikit_learn():
    found, truth, seen = units_told()
    for column, unit in enumerate(("AU01", "AU12")):
        a, b = truth[:, column], seen[:, column]
        assert found[unit]["f1"] == pytest.approx(metrics.f1_score(a >= 2, b >= 0.5))
        assert found[unit]["correlation"] == pytest.approx(np.corrcoef(a, b)[0, 1])
        cov = np.cov(a, b * 5)
        assert found[unit]["icc"] == pytest.approx(2 * cov[0, 1] / np.trace(cov))
        both = np.cov(a, b * 5, bias=True)
        lin = 2 * both[0, 1] / (np.trace(both) + (a.mean() - b.mean() * 5) ** 2)
        assert found[unit]["ccc"] == pytest.approx(lin)
    assert "AU25" not in found
    every, both = found["all"], [found[u]["f1"] for u in ("AU01", "AU12")]
    assert every["faces"] == 60
    assert every["missed"] == 2
    assert (every["units"], every["units_of_the_set"]) == (2, 3)
    assert every["f1"] == pytest.approx(np.mean(both))
    assert every["f1_silent_as_zero"] == pytest.approx(np.sum(both) / 3)


def test_occurrence_has_no_intensity():
    found, truth, seen = units_told(occurrence=True)
    expected = metrics.f1_score(truth[:, 0] >= 1, seen[:, 0] >= 0.5)
    assert found["AU01"]["f1"] == pytest.approx(expected)
    assert "icc" not in found["AU01"]
    assert "icc" not in found["all"]


def test_expressions_against_scikit_learn():
    draw = np.random.default_rng(1)
    told = draw.dirichlet(np.ones(7), 80)
    truth = np.where(draw.random(80) < 0.6, told.argmax(1), draw.integers(0, 7, 80))
    rows = [
        {"input": f"{i}.jpg", **dict(zip(EMOTIONS, p, strict=True))} for i, p in enumerate(told)
    ]
    found = figures.emotion_figures(Told(rows[5:]), photographs(80, emotions=truth))
    expected = metrics.accuracy_score(truth[5:], told[5:].argmax(1))
    assert found["all"]["accuracy"] == pytest.approx(expected)
    assert found["all"]["missed"] == 5
    assert found["all"]["accuracy_missed_wrong"] == pytest.approx(expected * 75 / 80)
    recall = metrics.balanced_accuracy_score(truth[5:], told[5:].argmax(1))
    assert found["all"]["balanced_accuracy_of_all"] == pytest.approx(recall)
    matrix = metrics.confusion_matrix(truth[5:], told[5:].argmax(1), labels=range(7))
    assert list(found["confusion"].values()) == matrix.tolist()


def test_landmarks_of_a_known_shift():
    points = np.random.default_rng(2).uniform(0, 100, (4, 68, 2))
    points[:, 36], points[:, 45] = [0, 0], [60, 80]
    shifts = [[3, 4], [6, 8], [0, 12], [0, 0]]
    rows = []
    for i, (face, shift) in enumerate(zip(points[:3], shifts, strict=False)):
        x, y = (face + shift).T
        row = {f"x_{k}": v for k, v in enumerate(x)} | {f"y_{k}": v for k, v in enumerate(y)}
        rows.append({"input": f"{i}.jpg", **row})
    groups = {
        "first": np.array([True, False, False, False]),
        "last": np.array([False, False, False, True]),
        "none": np.zeros(4, bool),
    }
    data = photographs(4, landmarks=points, groups=groups)
    found = figures.landmark_figures(Told(rows), data)
    assert found["all"]["nme"] == pytest.approx((0.05 + 0.10 + 0.12) / 3)
    assert found["all"]["nme_median"] == pytest.approx(0.10)
    assert found["all"]["failures_0.08"] == pytest.approx(3 / 4)  # the missed one failed
    assert found["all"]["failures_0.10"] == pytest.approx(2 / 4)
    assert found["first"] == pytest.approx(
        {
            "faces": 1,
            "missed": 0,
            "nme": 0.05,
            "nme_median": 0.05,
            "failures_0.08": 0,
            "failures_0.10": 0,
        }
    )
    assert found["last"] == {"faces": 1, "missed": 1}
    assert "none" not in found


def poses(angles, flip=(1, 1, 1)):
    """Table rows whose pitch, roll and yaw are given, and the set in which they are true."""
    turned = np.asarray(angles) * flip
    rows = [
        {"input": f"{i}.jpg", "Pitch": p, "Roll": r, "Yaw": y}
        for i, (p, r, y) in enumerate(turned.tolist())
    ]
    data = photographs(len(rows), rotations=rotation_from_angles(*np.asarray(angles).T))
    return Told(rows), data


ANGLES = [[0.1, 0.2, -0.3], [-0.2, 0.0, 0.5], [0.3, -0.1, 0.0]]


def test_a_pose_that_is_right_has_no_error():
    found = figures.pose_figures(*poses(ANGLES))["all"]
    for name, value in found.items():
        if name != "faces":
            assert value == pytest.approx(0, abs=1e-5), name


@pytest.mark.parametrize("axis", range(3))
def test_a_flipped_pose_is_twice_wrong(axis):
    flip = np.ones(3)
    flip[axis] = -1
    found = figures.pose_figures(*poses(ANGLES, flip))["all"]
    expected = np.degrees(2 * np.abs(np.array(ANGLES)[:, axis]).mean())
    name = ("pitch_mae", "roll_mae", "yaw_mae")[axis]
    assert found[name] == pytest.approx(expected)
    assert found["rotation_error"] > 0.8 * expected


def test_angles_of_the_literature_and_the_whole_rotation_against_scipy():
    draw = np.random.default_rng(3)
    angles = draw.uniform(-0.8, 0.8, (20, 3))
    truth = Rotation.from_matrix(rotation_from_angles(*angles.T))
    other = truth * Rotation.from_rotvec(draw.normal(0, 0.1, (20, 3)))
    told = angles_from_rotation(other.as_matrix())
    detector, data = poses(told)
    data = replace(data, rotations=truth.as_matrix())
    found = figures.pose_figures(detector, data)["all"]
    assert found["rotation_error"] == pytest.approx(
        np.degrees((truth.inv() * other).magnitude().mean())
    )
    away = np.abs(truth.as_euler("XYZ", degrees=True) - other.as_euler("XYZ", degrees=True))
    means = away.mean(0)
    assert found["euler_pitch_mae"] == pytest.approx(means[0])
    assert found["euler_yaw_mae"] == pytest.approx(means[1])
    assert found["euler_roll_mae"] == pytest.approx(means[2])
    assert found["euler_mae"] == pytest.approx(means.mean())


def test_gaze_and_its_signs():
    draw = np.random.default_rng(4)
    truth = draw.uniform(-0.6, 0.6, (30, 2))
    data = photographs(30, gaze=truth)

    def told(sign):
        rows = [
            {"input": f"{i}.jpg", "gaze_pitch": p, "gaze_yaw": sign * y}
            for i, (p, y) in enumerate(truth.tolist())
        ]
        return figures.gaze_figures(Told(rows[2:]), data)["all"]

    right, flipped = told(1), told(-1)
    assert right["error_deg"] == pytest.approx(0, abs=1e-6)
    assert right["yaw_r"] == pytest.approx(1)
    assert right["missed"] == 2
    assert flipped["yaw_r"] == pytest.approx(-1)
    assert flipped["pitch_r"] == pytest.approx(1)
    assert flipped["error_deg"] > np.degrees(np.abs(truth[2:, 1]).mean())


def people(count=60):
    """Two photographs of each person and a table of their embeddings."""
    draw = np.random.default_rng(5)
    vectors = draw.standard_normal((count, 8)).repeat(2, 0) + draw.normal(0, 0.7, (2 * count, 8))
    rows = [
        {"input": f"{i}.jpg", **{f"Identity_{k + 1}": v for k, v in enumerate(vector)}, **box(45.0)}
        for i, vector in enumerate(vectors)
    ]
    one = np.arange(0, 2 * count, 2)
    other = one + 1
    pairs = PairSet(
        tuple(Path(f"{i}.jpg") for i in range(2 * count)),
        np.concatenate([one, one]),
        np.concatenate([other, np.roll(other, 1)]),
        np.arange(2 * count) < count,
        np.tile(np.arange(count) * 10 // count, 2),
    )
    return rows, pairs, vectors


def test_pairs_against_scikit_learn():
    rows, pairs, vectors = people()
    found = figures.pair_figures(Told(rows), pairs)["all"]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = (unit[pairs.one] * unit[pairs.other]).sum(1)
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(pairs.same, scores), abs=1e-6)
    assert found["pairs"] == 120
    assert 0.7 < found["accuracy"] <= 1
    assert found["accuracy_missed_wrong"] == found["accuracy"]
    false, true, _ = metrics.roc_curve(pairs.same, scores)
    assert found["true_accept_at_0.01"] == pytest.approx(true[false <= 0.01].max())


def test_pairs_of_missed_faces():
    rows, pairs, _ = people()
    found = figures.pair_figures(Told(rows[1:]), pairs)["all"]
    assert found["missed"] == 1
    assert found["pairs_missed"] == 2
    assert found["accuracy_missed_wrong"] == pytest.approx(found["accuracy"] * 118 / 120)
    nobody = Told([{"input": "0.jpg", "FaceScore": 0.0, "Identity_1": NAN}])
    assert figures.pair_figures(nobody, pairs)["all"]["pairs_missed"] == 120


def test_the_person_in_the_middle_is_meant():
    rows = [
        {"input": "0.jpg", "Identity_1": 1.0, "FaceScore": 0.99, **box(0.0)},
        {"input": "0.jpg", "Identity_1": 2.0, "FaceScore": 0.60, **box(40.0)},
    ]
    found = middle_embeddings(Told(rows), [Path("0.jpg"), Path("1.jpg")])
    np.testing.assert_array_equal(found, [[2], [NAN]])


def test_boxes_by_hand():
    """Right, false, right of two faces: 1 up to recall 0.5, then 2/3."""
    faces = np.array([[0, 0, 10, 10], [50, 0, 60, 10.0]])
    rows = [
        {"input": "0.jpg", "FaceScore": 0.9, **box(0.0)},
        {"input": "0.jpg", "FaceScore": 0.8, **box(20.0)},
        {"input": "0.jpg", "FaceScore": 0.3, **box(50.0)},
        {"input": "1.jpg", "FaceScore": 0.0},
    ]
    data = BoxSet(
        (Path("0.jpg"), Path("1.jpg")),
        (faces, np.zeros((0, 4))),
        {
            "hard": (np.array([True, True]), np.zeros(0, bool)),
            "easy": (np.array([True, False]), np.zeros(0, bool)),
        },
    )
    detector = Told(rows)
    found = figures.box_figures(detector, data)
    assert detector.asked["face_detection_threshold"] == figures.LEAST_SCORE
    assert found["hard"]["average_precision"] == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert found["hard"]["recall_at_0.5"] == pytest.approx(0.5)
    assert found["hard"]["precision_at_0.5"] == pytest.approx(0.5)
    assert found["easy"]["average_precision"] == pytest.approx(1)
    assert (found["hard"]["faces"], found["easy"]["faces"]) == (2, 1)


def test_a_set_has_only_its_own_truth():
    with pytest.raises(OptionError, match="truth for gaze, not for pose"):
        figures.pose_figures(Told([{"input": "0.jpg"}]), photographs(1, gaze=np.zeros((1, 2))))
    with pytest.raises(OptionError, match="2 photographs and 1 rows of gaze"):
        photographs(2, gaze=np.zeros((1, 2)))
